"""Puts several cameras on one clock: what each saw at the same instant, between its frames where need be.

An instant is complete once every camera has a frame at it or after it; then nothing is guessed. A live camera that is
late is not waited for longer than `LATE_S`.
"""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from stream.motion.clock import between
from stream.motion.skeleton import Pose
from stream.sources.base import PoseFrame
from stream.sources.threaded import Threaded

ON_TIME = 0.003
"""A frame so near to an instant, s, is taken as it is: time stamps are rounded."""

BRIDGE = 0.27
"""Longest time between two frames, s, in which people are taken to move evenly: as the clock fills gaps."""

LATE_S = 0.15
"""How far a live camera may lie behind another one, s, and still be waited for."""

IDLE = 0.25
"""Seconds without a frame of any camera after which it is looked whether all of them have ended."""


@dataclass(frozen=True, slots=True)
class Instant:
    """What every camera saw at a time, s. views: the people of each, none where it saw nothing then. late: cameras
    that were not waited for."""

    time: float
    captured_ns: int
    views: list[Mapping[int, Pose]]
    late: int


class View(Protocol):
    """The people before one camera, as a `PoseSource` gives them."""

    live: bool

    def __iter__(self) -> Iterator[PoseFrame]:
        """Yield frames of poses in the order of their times."""


class Synchroniser:
    """Yields an instant for each tick of a clock at `fps` near which at least one camera has a frame.

    sources: of 2D poses, whose times are of one clock: films begin at the same moment. If all are live, late ones are
    not waited for; otherwise every frame counts.
    """

    def __init__(self, sources: Sequence[View], fps: float) -> None:
        self._tick = 1 / fps
        self._live = all(source.live for source in sources)
        self._arrived = threading.Event()
        self._cameras = [_Camera(Threaded(source, arrived=self._arrived)) for source in sources]

    def __iter__(self) -> Iterator[Instant]:
        """Yield instants until every camera has ended. What a source raises is raised here."""
        try:
            self._wait(lambda camera: bool(camera.frames))
            start = max((camera.frames[0].time for camera in self._cameras if camera.frames), default=math.nan)
            number = 0
            while not math.isnan(start):
                time = start + number * self._tick
                self._wait(partial(self._is_ready, time))
                following = self._nearest_from(time - self._tick / 2)
                if following is None:
                    return
                if following > time + self._tick / 2:  # nobody has anything before
                    number = max(number + 1, round((following - start) / self._tick))
                    continue
                yield self._instant(time)
                number += 1
        finally:
            for camera in self._cameras:
                camera.feed.close()

    def _instant(self, time: float) -> Instant:
        views, captured_ns = [], 0
        for camera in self._cameras:
            people, at_ns = camera.people_at(time)
            views.append(people)
            captured_ns = max(captured_ns, at_ns)
            camera.forget_before(time)
        late = sum(not camera.feed.over and camera.newest < time - ON_TIME for camera in self._cameras)
        return Instant(time, captured_ns or max(camera.captured_ns for camera in self._cameras), views, late)

    def _nearest_from(self, time: float) -> float | None:
        """Return the time of the first frame of any camera from `time` on; None when none will come."""
        times = [frame.time for camera in self._cameras for frame in camera.frames if frame.time >= time]
        return min(times, default=None)

    def _is_ready(self, time: float, camera: "_Camera") -> bool:
        late = self._live and max(other.newest for other in self._cameras) > time + LATE_S
        return late or camera.newest >= time - ON_TIME

    def _wait(self, enough: Callable[["_Camera"], bool]) -> None:
        """Take frames until each camera has ended or has enough."""
        while lacking := [camera for camera in self._cameras if not camera.feed.over and not enough(camera)]:
            self._arrived.clear()
            # Live, the others tell how late those are; a film that is ahead waits.
            came = [camera.take() for camera in (self._cameras if self._live else lacking)]
            if not any(came) and not all(camera.feed.over for camera in lacking):
                self._arrived.wait(IDLE)


class _Camera:
    """The frames of one camera around the next instant."""

    def __init__(self, feed: Threaded[PoseFrame]) -> None:
        self.feed = feed
        self.frames: deque[PoseFrame] = deque()

    @property
    def newest(self) -> float:
        """Seconds; of the last frame."""
        return self.frames[-1].time if self.frames else -math.inf

    @property
    def captured_ns(self) -> int:
        """Of the last frame."""
        return self.frames[-1].captured_ns if self.frames else 0

    def take(self) -> bool:
        """Take a frame if there is one; whether there was."""
        frame = self.feed.take()
        if frame is not None:
            self.frames.append(frame)
        return frame is not None

    def forget_before(self, time: float) -> None:
        """Drop what no later instant needs: all before the last frame up to `time`."""
        while len(self.frames) > 1 and self.frames[1].time <= time + ON_TIME:
            self.frames.popleft()

    def people_at(self, time: float) -> tuple[Mapping[int, Pose], int]:
        """Return who was there at a time, and when the newest frame that says so was captured; nobody, 0 if unknown."""
        before = next((frame for frame in reversed(self.frames) if frame.time <= time + ON_TIME), None)
        if before is not None and before.time >= time - ON_TIME:
            return before.people, before.captured_ns
        after = next((frame for frame in self.frames if frame.time > time), None)
        if before is None or after is None or after.time - before.time > BRIDGE:
            return {}, 0
        share = (time - before.time) / (after.time - before.time)
        return between(before.people, after.people, share), after.captured_ns
