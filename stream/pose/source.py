"""People in images: an image source and a tracker make a source of poses."""

import threading
from collections.abc import Iterator
from pathlib import Path

from stream.motion.projection import Dims
from stream.pose.landmarker import Landmarker, Seeder
from stream.pose.model_file import find_pose_model
from stream.pose.tracker import PoseTracker
from stream.sources.base import ImageSource, PoseFrame, Rate, Unit
from stream.sources.camera import CameraSource
from stream.sources.video import open_video

EXTRA_FINDS = 2
"""People that the seeder reports beyond those wanted: some finds are doubles or no people."""


class VisionSource:
    """The people in the images of a source, by track id; px of the image for a 2D tracker, cm for a 3D one."""

    def __init__(self, images: ImageSource, tracker: PoseTracker) -> None:
        self._images = images
        self._tracker = tracker
        self.unit: Unit = "px" if tracker.dims == "2d" else "cm"
        self.label, self.live = images.label, images.live

    @property
    def counts(self) -> dict[str, int]:
        """What was left out so far, by cause; empty when nothing was."""
        return {**self._images.counts, **self._tracker.counts}

    def close(self) -> None:
        """Release the device or file and the landmarkers. Safe to call twice and from another thread."""
        self._images.close()
        self._tracker.close()

    def __iter__(self) -> Iterator[PoseFrame]:
        """Yield the poses of every frame, also of those without people. Closes the landmarkers at the end."""
        try:
            self._tracker.warm()
            for frame in self._images:
                yield PoseFrame(self._tracker.track(frame), frame.time, frame.captured_ns)
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
    max_persons: int = 2,
    pose_model: str | None = None,
) -> VisionSource:
    """Return the people before camera `ref`, in a video file or on an address, as MediaPipe sees them.

    rate and loop are for files; live says whether an address is (`open_video`). Raises SourceError when there is no
    such file or device, PoseModelError when there is no model; a camera or address that gives nothing raises
    SourceError on iterating.
    """
    images = CameraSource(ref, stop) if isinstance(ref, int) else open_video(ref, rate, stop, loop, live)
    return VisionSource(images, mediapipe_tracker(find_pose_model(pose_model), max_persons, dims))


def mediapipe_tracker(model: Path, max_persons: int, dims: Dims) -> PoseTracker:
    """Return a tracker that sees with MediaPipe. Raises PoseModelError when the model cannot be loaded."""
    seeder = Seeder(model, max_persons + EXTRA_FINDS)
    return PoseTracker(lambda: Landmarker(model), seeder, max_persons, dims)
