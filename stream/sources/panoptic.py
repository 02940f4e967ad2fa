"""Replays the 3D poses of a CMU Panoptic recording, as they are or through one of its cameras."""

import threading
from collections.abc import Iterator
from pathlib import Path

from stream.errors import SourceError
from stream.motion.calibration import hd_camera
from stream.motion.panoptic import open_recording
from stream.motion.projection import Dims, OrthographicFront, View
from stream.motion.scenes import Scenes
from stream.sources.base import LOOP_GAP, Pacer, PoseFrame, Rate, Unit


class PanopticSource:
    """The people of a recording by their ids in it; confidence is scaled so that measured joints are seen.

    path: a sequence folder, its folder of poses, or an archive (.tar, .tar.gz, .tar.bz2, .tar.xz, .zip), which is
    not unpacked to disk. dims: "3d" gives cm, "2d" px through the HD `camera` (default 00_03), or through an
    orthographic front view when there is no calibration. Frames that cannot be read are left out and counted, and so
    are bodies that are damaged or have no id of their own.

    Raises SourceError when there is nothing to replay or no such camera; for a tar that breaks off, after the
    frames that are there.
    """

    live = False

    def __init__(
        self,
        path: str | Path,
        dims: Dims,
        rate: Rate,
        stop: threading.Event,
        loop: bool = False,
        camera: str | None = None,
    ) -> None:
        self._path = path
        self._recording = open_recording(Path(path))
        self._view = self._choose_view(camera) if dims == "2d" else None
        self.scenes = Scenes(path, self._recording, self._view)
        self._loop = loop
        self._pacer = Pacer(rate, stop)
        self._stop = stop
        self._closed = False
        self.unit: Unit = "px" if self._view else "cm"
        self.label = self._describe()

    @property
    def counts(self) -> dict[str, int]:
        """ "frames unreadable" and "bodies left out", where there were any."""
        return self.scenes.counts

    def close(self) -> None:
        """End the replay. No file is held open between frames."""
        self._closed = True

    def __iter__(self) -> Iterator[PoseFrame]:
        """Yield the frames in the order of their numbers, the time of the first being 0."""
        start = 0.0
        while True:
            time: float | None = None
            for time, people in self.scenes.read(start, self._is_over):
                captured_ns = self._pacer.wait(time)
                if captured_ns is None:
                    return
                yield PoseFrame(people, time, captured_ns)
            if self._is_over():
                return
            self.scenes.check(time)
            if not self._loop or time is None:
                return
            start = time + LOOP_GAP

    def _is_over(self) -> bool:
        return self._closed or self._stop.is_set()

    def _describe(self) -> str:
        view = f", {self._view.label}" if self._view else ""
        without = " (no calibration)" if isinstance(self._view, OrthographicFront) else ""
        return f"panoptic {self._recording.name}, {len(self._recording.numbers)} frames{view}{without}"

    def _choose_view(self, camera: str | None) -> View:
        calibration = self._recording.calibration
        if calibration is not None:
            return hd_camera(calibration, camera)
        if camera is not None:
            raise SourceError(
                f"no calibration for camera {camera!r} beside {self._path}: put "
                f"calibration_{self._recording.name}.json there, or name no camera for a front view"
            )
        return OrthographicFront()
