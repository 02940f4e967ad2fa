"""The fixed clock: poses that come when they come, put on evenly spaced ticks, without looking ahead.

Each frame goes to the tick nearest to it and is out at once. Ticks that no frame came near are filled, and marked,
when the next frame arrives. Of a source that is faster than the clock the frames nearest to the ticks are taken, as
its own rate, seen so far, tells them. The clock leans slowly towards its source, so a camera of 29.97 frames per
second, or one whose frames wander around the tick, is followed frame by frame; one of 25 or 28 is not, and gets filled
ticks.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np

from stream.motion.skeleton import Pose

FPS = 30.0

SLOWEST = 10.0
"""Least frames per second: a pause of a second must count as a gap that is not filled."""

LEAN = 0.01
"""Share of a frame's distance from its tick by which the clock moves: it holds on to rates within 0.5 % of its own."""

FIRST_LEAN = 0.1
"""The same for the first frames, whose arrival says little of the source's phase; falls to `LEAN` as 1 / frames."""

FAST = 0.8
"""Ticks between two frames below which a source counts as faster than the clock; above, it is one that wanders."""

SMOOTH = 0.05
"""Share of each interval in what is known of the source's rate; of the first ones 1 / frames."""

SURPLUS = "frames beyond the clock's rate"
"""How the frames are counted that a faster source gives in vain."""

MAX_HOLD = 8
"""Ticks that a gap may last and still be filled; after a longer one a person's state starts afresh."""

SLOWEST_SOURCE = 1.8
"""Frames a second of the slowest source that is followed: the gaps between its frames are filled though they are longer
than `MAX_HOLD`. At 2 a second people turn round between frames; at less nothing of a motion is left to fill in."""

USUAL = 1.5
"""A gap is one between two frames of a slow source if it is no longer than this many of its usual ones."""

LATELY = 5
"""Intervals whose median is what is usual: one pause is none."""

KNOWN = 2
"""Intervals after which it is taken for that: the first gap of a recording may be any."""


@dataclass(frozen=True, slots=True)
class Tick:
    """All people at one instant of the clock. `seen` is False where the poses were filled in between two frames.

    captured_ns: when the frame that completed the tick was captured, on the monotonic clock.
    """

    index: int
    people: dict[int, Pose]
    seen: bool
    captured_ns: int


class Clock:
    """Turns frames at any times into ticks at a fixed rate. Counts the frames that fell on a tick already taken."""

    def __init__(self, fps: float = FPS) -> None:
        self.fps = fps
        self.surplus = 0
        self._origin = 0.0
        self._frames = 0
        self._ticks = 0
        self._step = 1.0  # ticks between two frames of the source, at most 1
        self._lately: deque[float] = deque(maxlen=LATELY)  # ticks between two frames of the source, however many
        self._before = 0.0  # time of the frame before
        self._last: Tick | None = None

    @property
    def too_slow(self) -> float | None:
        """Frames a second of a source that is too slow to be followed; None where it is not, or not yet known."""
        if len(self._lately) < LATELY:
            return None
        rate = self.fps / max(median(self._lately), 1e-9)
        return rate if rate < SLOWEST_SOURCE else None

    def advance(self, people: dict[int, Pose], time: float, captured_ns: int) -> list[Tick]:
        """Take the frame at `time` (seconds, any origin) and return the ticks that are now complete, in order.

        The first frame is tick 0. After a gap of more than `MAX_HOLD` ticks, in a source that usually has none, the
        index jumps and nothing is filled.
        """
        if self._last is None:
            self._origin = self._before = time
            self._last = Tick(0, people, True, captured_ns)
            return [self._last]
        self._frames += 1
        interval = max((time - self._before) * self.fps, 0.0)
        self._step += max(SMOOTH, 1 / self._frames) * (min(interval, 1.0) - self._step)
        self._lately.append(interval)
        self._before = time
        position = (time - self._origin) * self.fps
        # Who comes so often has another frame nearer to the tick, if this one is further away than half a step.
        index = round(position) if self._step > FAST else math.floor(position + self._step / 2)
        if index <= self._last.index:
            self.surplus += 1
            return []
        self._ticks += 1
        lean = max(LEAN, min(FIRST_LEAN, 1 / self._ticks))
        self._origin += lean * (position - index) / self.fps
        before, now = self._last, Tick(index, people, True, captured_ns)
        missing = index - before.index - 1
        self._last = now
        if missing > self._longest():
            return [now]
        filled = [
            Tick(before.index + i, between(before.people, people, i / (missing + 1)), False, captured_ns)
            for i in range(1, missing + 1)
        ]
        return [*filled, now]

    def _longest(self) -> float:
        """Return how many ticks a gap may last and be filled."""
        usual = median(self._lately) if len(self._lately) >= KNOWN else 0.0
        return max(min(USUAL * usual, self.fps / SLOWEST_SOURCE), MAX_HOLD) if usual > MAX_HOLD else MAX_HOLD


def between(before: Mapping[int, Pose], after: Mapping[int, Pose], share: float) -> dict[int, Pose]:
    """Return the poses a share of the way between two frames, of the people who are in both."""
    return {
        track: Pose(
            ((1 - share) * pose.joints + share * after[track].joints).astype(np.float32),
            np.minimum(pose.confidence, after[track].confidence),
        )
        for track, pose in before.items()
        if track in after
    }
