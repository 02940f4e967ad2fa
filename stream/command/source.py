"""The flags that say where motion comes from, and the source that they name."""

import threading
from dataclasses import dataclass
from pathlib import Path

from engine.command.cli import repeated
from stream.motion.clock import SLOWEST
from stream.motion.projection import Dims
from stream.pose.choice import Focal, PoseChoice, check_pose_size
from stream.pose.smoothing import SmoothedSource
from stream.sources.address import is_address
from stream.sources.base import PoseSource, Rate
from stream.sources.camera import check_camera
from stream.sources.demo import DemoSource
from stream.sources.joints import JointsSource
from stream.sources.panoptic import PanopticSource

FEW = 2
"""People shown by the demo unless asked otherwise."""


@dataclass(frozen=True, kw_only=True)
class SourceFlags:
    """One source, and how it is read."""

    camera: tuple[int, ...] = repeated()
    """Number of a camera of this machine, from 0. With --calibration, once for each camera."""
    video: tuple[str, ...] = repeated()
    """Video file, or address of a film or of a live stream: rtsp://..., http://... (MJPEG, HLS). With --calibration,
    once for each camera."""
    calibration: str | None = None
    """Calibration of several cameras that see the same people: CMU Panoptic's JSON, Qualisys' .qca.txt or OpenCV's
    YAML. One stream of 3D poses comes out. Videos are named after their cameras, or given in the file's order."""
    live: bool | None = None
    """Take the address of --video for a live stream, whose newest frame wins, or with --no-live for a film, of which
    every frame is read once. By default a film is what tells how long it lasts."""
    panoptic: str | None = None
    """CMU Panoptic sequence: its folder, its folder of poses or an archive (tar, tar.gz, tar.bz2, tar.xz, zip)."""
    panoptic_camera: str | None = None
    """HD camera of the recording through which 2D tokenizers see it, such as 00_03 (the default)."""
    joints: str | None = None
    """Recording of joints in the form that training reads: FILE.npz, or FILE.npz:CLIP for one clip by number or name.
    2D tokenizers see it from the front."""
    demo: bool = False
    """Built-in motion: people who walk and wave."""
    loop: bool = False
    """Start a file or recording again at its end; every round begins with reset states."""
    rate: Rate = "realtime"
    """Speed of files, recordings and the demo: realtime, or max for as fast as possible."""
    fps: float = 30.0
    """Frames per second of the fixed clock; the shipped tokenizers were trained at 30."""
    dims: Dims | None = None
    """2d: image coordinates, px; 3d: cm. By default those of the tokenizer, else 2d."""
    max_persons: int | None = None
    """Most people to follow at once: by default 6 with movenet, 2 with mediapipe, for a recording everybody; for the
    demo, how many there are (2)."""
    pose: PoseChoice = "auto"
    """What finds people in images: movenet (2D, ships with kinetoken) or mediapipe (2D and 3D); auto takes movenet for
    2D tokenizers and mediapipe for 3D ones."""
    pose_size: int | None = None
    """Longer side, px, at which movenet looks at images, a multiple of 32: larger finds smaller people and takes
    longer. By default 256, or 448 while somebody is small."""
    pose_model: str | None = None
    """MediaPipe pose landmarker (.task), for --pose mediapipe; by default KINETOKEN_POSE_MODEL, the cache, or a
    download on first use."""
    focal: Focal | None = None
    """Focal length of the camera, px, or guess: 3D poses are then where people stand before it, in cm, and not around
    their own hips. How far away depends on how tall they are, which one camera cannot tell."""
    smooth: bool = False
    """Filter the joints that are found in images (One Euro): they shake less, and lag some 10 ms."""
    duration: float = 0.0
    """Stop after so many seconds of the source; 0 for no limit."""

    def check_source(self) -> None:
        """Raise ValueError for flags that are out of range or do not go together."""
        sources = [name for name in ("camera", "video", "panoptic", "joints") if getattr(self, name) not in (None, ())]
        sources += ["demo"] * self.demo
        if len(sources) != 1:
            given = " and ".join(f"--{name}" for name in sources) or "none"
            raise ValueError(f"give one source, --camera, --video, --panoptic, --joints or --demo; given: {given}")
        self._check_views()
        if self.panoptic_camera and (self.panoptic is None or self.dims == "3d"):
            raise ValueError("--panoptic-camera goes with --panoptic in 2d")
        if self.loop and (self.live_images or self.demo):
            raise ValueError(
                "--loop goes with a --video file (a film at an address: --no-live), --panoptic or --joints"
            )
        if self.live is not None and not any(map(is_address, self.video)):
            raise ValueError("--live and --no-live go with the address of a --video")
        if self.rate == "max" and self.live_images:
            raise ValueError(
                "--rate max is for files and recordings; a camera or live address sets its own pace (a film: --no-live)"
            )
        if self.smooth and not (self.camera or self.video):
            raise ValueError("--smooth is for what is found in images: it goes with --camera or --video")
        self._check_focal()
        if not SLOWEST <= self.fps <= 240:
            raise ValueError(f"--fps {self.fps:g}: from {SLOWEST:g} to 240")
        if self.max_persons is not None and self.max_persons < 1:
            raise ValueError(f"--max-persons {self.max_persons}: at least 1")
        check_pose_size(self.pose_size)
        if self.duration < 0:
            raise ValueError(f"--duration {self.duration:g}: seconds, 0 or more")

    def _check_focal(self) -> None:
        if self.focal is None:
            return
        if self.calibration is not None or not (self.camera or self.video):
            raise ValueError("--focal places people before one camera: it goes with a --camera or --video of its own")
        if self.dims == "2d":
            raise ValueError("--focal gives 3D poses: leave out --dims 2d")
        if self.focal != "guess" and self.focal <= 0:
            raise ValueError(f"--focal {self.focal:g}: px, more than 0, or guess")

    def _check_views(self) -> None:
        views = [*self.camera, *self.video]
        if any(camera < 0 for camera in self.camera):
            raise ValueError(f"--camera {min(self.camera)}: cameras count from 0")
        if len(set(views)) < len(views):
            raise ValueError("a --camera or --video is given twice")
        if self.calibration is None:
            if len(views) > 1:
                raise ValueError("several cameras need --calibration; without one, start a producer for each")
            return
        if len(views) < 2:
            raise ValueError("--calibration is for several cameras: give --camera or --video once for each")
        if self.dims == "2d":
            raise ValueError("--calibration gives 3D poses: leave out --dims 2d")
        if self.loop:
            raise ValueError("--loop does not go with --calibration: videos of different lengths would drift apart")

    @property
    def live_images(self) -> bool:
        """Whether images may come at a pace of their own; what an address gives shows when it is opened."""
        return bool(self.camera) or (any(map(is_address, self.video)) and self.live is not False)

    @property
    def bounded(self) -> bool:
        """Whether all packets of the run may wait in memory for slow readers: a recording at full speed, once."""
        return self.rate == "max" and not self.loop and (not self.demo or self.duration > 0)

    @property
    def kind(self) -> str:
        """The source's kind, which names the stream unless --stream does."""
        kinds = ("camera", "video", "panoptic", "joints")
        return next((name for name in kinds if getattr(self, name) not in (None, ())), "demo")


def open_source(flags: SourceFlags, axes: int, stop: threading.Event) -> PoseSource:
    """Open the source that is named, for a tokenizer of 2 or 3 axes. Raises SourceError, PoseModelError."""
    dims: Dims = "3d" if axes == 3 else "2d"
    if flags.demo:
        return DemoSource(dims, flags.rate, stop, flags.fps, flags.max_persons or FEW)
    if flags.panoptic is not None:
        return PanopticSource(flags.panoptic, dims, flags.rate, stop, flags.loop, flags.panoptic_camera)
    if flags.joints is not None:
        return JointsSource(flags.joints, dims, flags.rate, stop, flags.loop)
    for camera in flags.camera:
        check_camera(camera)
    refs: list[int | str] = [*flags.camera, *flags.video]
    if flags.calibration is not None:
        source = _open_views(flags, refs, Path(flags.calibration), stop)
    else:
        source = _open_vision(flags, refs[0], dims, stop)
    return SmoothedSource(source) if flags.smooth else source


def _open_views(flags: SourceFlags, refs: list[int | str], calibration: Path, stop: threading.Event) -> PoseSource:
    from stream.multiview.calibration import choose_cameras, read_calibration
    from stream.multiview.source import MultiviewSource

    cameras = choose_cameras(read_calibration(calibration), refs, calibration)
    return MultiviewSource([_open_vision(flags, ref, "2d", stop) for ref in refs], cameras, flags.fps, calibration.name)


def _open_vision(flags: SourceFlags, ref: int | str, dims: Dims, stop: threading.Event) -> PoseSource:
    from stream.pose.source import open_vision  # OpenCV takes a moment to import: only where there are images

    return open_vision(
        ref,
        dims,
        rate=flags.rate,
        stop=stop,
        loop=flags.loop,
        live=flags.live,
        max_persons=flags.max_persons,
        pose=flags.pose,
        pose_size=flags.pose_size,
        pose_model=flags.pose_model,
        focal=flags.focal,
        fps=flags.fps,
    )
