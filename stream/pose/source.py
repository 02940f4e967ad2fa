"""People in images: an image source and a tracker make a source of poses."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from engine.picture_network import PictureNetwork
from stream.motion.clock import SURPLUS, Clock
from stream.motion.projection import Dims
from stream.motion.skeleton import Pose
from stream.pose.choice import Focal, PoseChoice, choose
from stream.pose.crop_tracker import CropTracker
from stream.pose.detection_tracker import DetectionTracker
from stream.pose.model_file import find_pose_model
from stream.pose.movenet import MoveNet, open_network
from stream.pose.placing import Lens
from stream.sources.base import Frame, ImageSource, PoseFrame, Rate, Unit
from stream.sources.camera import CameraSource
from stream.sources.video import open_video

EXTRA_FINDS = 2
"""People that the seeder reports beyond those wanted: some detections are doubles or not people."""


MOVENET_PEOPLE = 6
MEDIAPIPE_PEOPLE = 2
"""People followed at most, unless asked otherwise: as many as MoveNet finds at no further cost; MediaPipe takes a pass
for each."""


class Tracker(Protocol):
    """Follows people from image to image."""

    dims: Dims

    @property
    def counts(self) -> dict[str, int]:
        """What went wrong so far, by kind; empty when nothing did."""

    def warm(self) -> None:
        """Get ready, so that no live frame waits for it."""

    def track(self, frame: Frame) -> dict[int, Pose]:
        """Return the poses of the people in a frame by id. Frames in the order of time."""

    def close(self) -> None:
        """Release what it holds. Idempotent, and safe from another thread."""


class Thinning:
    """Wants the images that a clock at `fps` would take, and counts the others.

    With a clock of its own: given the times of all images it chooses those that the one of the hops would.
    """

    def __init__(self, fps: float) -> None:
        self._clock = Clock(fps)

    @property
    def surplus(self) -> int:
        """Images not wanted so far. May be read from any thread."""
        return self._clock.surplus

    def __call__(self, time: float) -> bool:
        """Whether the image of a time is wanted; times in seconds, rising."""
        return bool(self._clock.advance({}, time, 0))


class VisionSource:
    """The people in the images of a source, by track id; px of the image for a 2D tracker, cm for a 3D one.

    through: the pose estimator and why it was chosen, for the start line. thinning: what says to `images` which of
    them are wanted, for the counts.
    """

    def __init__(
        self, images: ImageSource, tracker: Tracker, through: str | None = None, thinning: Thinning | None = None
    ) -> None:
        self._images = images
        self._tracker = tracker
        self.unit: Unit = "px" if tracker.dims == "2d" else "cm"
        self.label = f"{images.label} through {through}" if through else images.label
        self.live = images.live
        self._thinning = thinning

    @property
    def counts(self) -> dict[str, int]:
        """What was left out so far, by cause; empty when nothing was."""
        surplus = self._thinning.surplus if self._thinning is not None else 0
        return {**self._images.counts, **self._tracker.counts, **({SURPLUS: surplus} if surplus else {})}

    def close(self) -> None:
        """Release the device or file and the landmarkers. Safe to call twice and from another thread."""
        self._images.close()
        self._tracker.close()

    def __iter__(self) -> Iterator[PoseFrame]:
        """Yield the poses of frames, also of those without people. Closes the tracker at the end."""
        try:
            self._tracker.warm()
            for frame in self._images:
                yield PoseFrame(self._tracker.track(frame), frame.time, frame.captured_ns, frame.image)
        finally:
            self._tracker.close()


def open_vision(
    ref: int | str,
    dims: Dims,
    *,
    rate: Rate,
    stop: threading.Event,
    loop: bool = False,
    live: bool | None = None,
    max_persons: int | None = None,
    pose: PoseChoice = "auto",
    pose_size: int | None = None,
    pose_model: str | None = None,
    focal: Focal | None = None,
    fps: float | None = None,
    network: Callable[[], PictureNetwork] = open_network,
) -> VisionSource:
    """Return the people before camera `ref`, in a video file or on an address.

    rate and loop are for files; live says whether an address is (`open_video`). pose: the estimator, see
    `stream.pose.choice.choose`; pose_size: see `MoveNet`; pose_model: MediaPipe's. max_persons: by default
    `MOVENET_PEOPLE` or `MEDIAPIPE_PEOPLE`. focal: of the camera, so that 3D poses are where people stand before it and
    not around their own hips. fps: of the clock that the poses go to: what it would leave out is not looked at.
    network: gives MoveNet's, for one source at a time.

    Raises SourceError when there is no such file or device, PoseModelError when there is no model or the estimator
    does not give such poses; a camera or address that gives nothing raises SourceError on iterating.
    """
    thinning = Thinning(fps) if fps is not None else None
    images: ImageSource
    if isinstance(ref, int):
        images = CameraSource(ref, stop, thinning)
    else:
        images = open_video(ref, rate, stop, loop, live, thinning)
    chosen, why = choose(pose, dims, pose_model)
    tracker: Tracker
    if chosen == "movenet":
        tracker = DetectionTracker(MoveNet(pose_size, network()), max_persons or MOVENET_PEOPLE)
    else:
        lens = Lens(focal) if focal is not None else None
        tracker = mediapipe_tracker(find_pose_model(pose_model), max_persons or MEDIAPIPE_PEOPLE, dims, lens)
        why += f"; placed by {lens.label}" if lens is not None else ""
    return VisionSource(images, tracker, f"{chosen} ({why})", thinning)


def mediapipe_tracker(model: Path, max_persons: int, dims: Dims, lens: Lens | None = None) -> CropTracker:
    """Return a tracker that sees with MediaPipe. Raises PoseModelError when the model cannot be loaded."""
    # MediaPipe takes a second and 200 MB to import: only where it is wanted.
    from stream.pose.landmarker import Landmarker, Seeder

    seeder = Seeder(model, max_persons + EXTRA_FINDS)
    return CropTracker(lambda: Landmarker(model), seeder, max_persons, dims, lens)
