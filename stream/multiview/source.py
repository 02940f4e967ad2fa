"""Several calibrated cameras as one source: people in the room, in cm, from what each camera sees of them."""

import logging
from collections.abc import Iterator, Sequence

from stream.motion.projection import Camera
from stream.multiview.calibration import check_size
from stream.multiview.doubts import Doubts
from stream.multiview.people import PeopleInTheRoom
from stream.multiview.sync import Synchroniser
from stream.sources.base import PoseFrame, PoseSource, Unit

_log = logging.getLogger(__name__)


class MultiviewSource:
    """The people that two cameras or more see, with ids of their own; cm, y down, in the calibration's room.

    views: the people before each of `cameras` in px, in the same order; films begin at the same moment. fps: ticks a
    second at which people are put together. name: of the calibration, for the start line.

    Raises SourceError, on iterating, when a picture does not have the size that its camera was calibrated with.
    """

    unit: Unit = "cm"

    def __init__(self, views: Sequence[PoseSource], cameras: Sequence[Camera], fps: float, name: str) -> None:
        self._views, self._cameras, self._fps = views, cameras, fps
        self._late = 0
        self.live = all(view.live for view in views)
        pairs = (f"{camera.name}: {view.label}" for view, camera in zip(views, cameras, strict=True))
        self.label = f"{len(views)} cameras of {name}, {', '.join(pairs)}"

    @property
    def counts(self) -> dict[str, int]:
        """The sums of what the cameras left out, and "views late": of cameras not waited for."""
        counts: dict[str, int] = {"views late": self._late} if self._late else {}
        for view in self._views:
            for cause, count in view.counts.items():
                counts[cause] = counts.get(cause, 0) + count
        return counts

    def close(self) -> None:
        """Release all cameras and what looks at them. Idempotent, and safe from another thread."""
        for view in self._views:
            view.close()

    def __iter__(self) -> Iterator[PoseFrame]:
        """Yield the people of every tick, also of those without anybody."""
        room = PeopleInTheRoom(self._cameras)
        doubts = Doubts(self._cameras, self._fps)
        feeds = [_Checked(view, camera) for view, camera in zip(self._views, self._cameras, strict=True)]
        try:
            for instant in Synchroniser(feeds, self._fps):
                self._late += instant.late
                placed = room.track(instant.views, instant.time)
                if (doubt := doubts.about(instant.views)) is not None:
                    _log.warning("%s", doubt)
                people = {id: one.pose for id, one in placed.items()}
                yield PoseFrame(people, instant.time, instant.captured_ns)
            if (doubt := doubts.at_the_end()) is not None:
                _log.warning("%s", doubt)
        finally:
            self.close()


class _Checked:
    """A camera's people, of whom no picture is kept; the first one has to have the size of the calibration."""

    def __init__(self, view: PoseSource, camera: Camera) -> None:
        self._view, self._camera = view, camera
        self.live = view.live

    def __iter__(self) -> Iterator[PoseFrame]:
        checked = False
        for frame in self._view:
            if frame.image is not None and not checked:
                check_size(self._camera, frame.image, self._view.label)
                checked = True
            yield PoseFrame(frame.people, frame.time, frame.captured_ns)
