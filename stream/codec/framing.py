"""Poses to hops: clock, per-person ring and box. What an encoder takes, found without one."""

from dataclasses import dataclass

import numpy as np

from stream.codec.ring import Ring
from stream.motion import box as boxes
from stream.motion.clock import FPS, MAX_HOLD, Clock, Tick
from stream.motion.skeleton import Array, J, Pose
from stream.sources.base import PoseFrame

TOGETHER = 4
"""People whose hops may end on the same tick before newcomers are moved to quieter ticks."""


@dataclass(frozen=True, slots=True)
class HopWindow:
    """One hop of one person, ready to be encoded.

    frame: tick of the hop's first frame; captured_ns: capture time of its last; keypoints: float32 [window, 17, D + 1],
    box coordinates and presence 0 or 1; box: float32 [D + 1], (*centre, side) in px or cm; observed: bit i set where
    frame i was seen; reset: the state begins afresh.
    """

    track: int
    frame: int
    captured_ns: int
    keypoints: Array
    box: Array
    observed: int
    reset: bool


@dataclass(slots=True)
class _Person:
    """What is remembered of one person."""

    ring: Ring
    box: boxes.Box
    start: int  # tick of the first frame of the hop in hand
    last: Pose
    observed: int = 0
    frames: int = 0  # of the hop in hand
    present: bool = False  # in the hop in hand, if only between two frames of a slow source
    hidden: int = 0  # ticks since the person was last seen
    hops: int = 0  # since the last reset
    captured_ns: int = 0


class Framer:
    """Cuts the motion of the people of a source into hops, looking only back.

    window, hop: frames that an encoder sees, and between two of its steps; dims: 2 or 3; fps: of the fixed clock;
    keyframe: hops after which a person's state is reset, 0 for never.

    What comes out is in groups: the hops of one group are of different people and may be encoded in one step.
    """

    def __init__(self, window: int, hop: int, dims: int, fps: float = FPS, keyframe: int = 0) -> None:
        self._window, self._hop, self._dims, self._keyframe = window, hop, dims, keyframe
        self._clock = Clock(fps)
        self._people: dict[int, _Person] = {}
        self._ends: dict[int, int] = {}  # tick after the last hop of those who left: their packets never overlap

    @property
    def surplus(self) -> int:
        """Frames left out because the source is faster than the clock."""
        return self._clock.surplus

    @property
    def too_slow(self) -> float | None:
        """Frames a second of a source that is too slow to be followed; None where it is not."""
        return self._clock.too_slow

    @property
    def tracks(self) -> set[int]:
        """The people who are there now."""
        return set(self._people)

    def push(self, frame: PoseFrame) -> list[list[HopWindow]]:
        """Take one frame and return the hops that it completes."""
        ticks = self._clock.advance(frame.people, frame.time, frame.captured_ns)
        return [group for tick in ticks for group in self._tick(tick) if group]

    def flush(self) -> list[list[HopWindow]]:
        """Complete the hops in hand with held frames, as at the end of a recording, and forget everybody."""
        group = self._dismiss(list(self._people))
        return [group] if group else []

    def _tick(self, tick: Tick) -> list[list[HopWindow]]:
        # A jump of the clock ends every stream it skips over: frames across it are not evenly spaced.
        ended = self._dismiss([track for track, p in self._people.items() if p.start + p.frames < tick.index])
        for track, pose in tick.people.items():
            if track not in self._people:
                self._people[track] = self._arrive(track, pose, tick)
        due, gone = [], []
        for track, person in self._people.items():
            if person.start > tick.index:
                continue  # a newcomer waiting for a quiet tick
            now = tick.people.get(track)
            person.hidden = 0 if now else person.hidden + 1
            if person.hidden > MAX_HOLD:
                gone.append(track)
                continue
            person.present |= now is not None
            self._take(person, now or person.last, tick.seen and now is not None, tick.captured_ns)
            if person.frames == self._hop and person.present:
                due.append(track)
            elif person.frames == self._hop:
                gone.append(track)  # they were away for a whole hop: they left with the one before
        return [ended, self._dismiss(gone), self._complete(due)]

    def _dismiss(self, tracks: list[int]) -> list[HopWindow]:
        """Forget these people; what was seen of them in the hop in hand still goes out, completed with held frames."""
        unfinished = [track for track in tracks if self._people[track].observed]
        for track in unfinished:
            person = self._people[track]
            while person.frames < self._hop:
                self._take(person, person.last, False, person.captured_ns)
        hops = self._complete(unfinished)
        for track in tracks:
            self._ends[track] = self._people.pop(track).start
        return hops

    def _arrive(self, track: int, pose: Pose, tick: Tick) -> _Person:
        """Make room for a newcomer, on a tick where few hops end, so that the load is even.

        The hop begins earlier than the person where that is needed, with the first pose held; at the very start of a
        recording, where there is no earlier, it begins up to a hop later, and those frames are not encoded.
        """
        busy = np.zeros(self._hop, int)
        for person in self._people.values():
            busy[person.start % self._hop] += 1
        start = tick.index
        if busy[start % self._hop] >= TOGETHER:
            start -= (start - int(busy.argmin())) % self._hop
            start += self._hop if start < self._ends.get(track, 0) else 0
        ring = Ring(self._window, (J, self._dims + 1))
        person = _Person(ring, boxes.Box.fresh(1, self._dims), start, pose)
        for _ in range(start, tick.index):
            self._take(person, pose, False, tick.captured_ns)
        return person

    def _take(self, person: _Person, pose: Pose, seen: bool, captured_ns: int) -> None:
        person.ring.push(np.concatenate([pose.joints, pose.confidence[:, None]], axis=1))
        person.observed |= seen << person.frames
        person.frames += 1
        person.last, person.captured_ns = pose, captured_ns

    def _complete(self, due: list[int]) -> list[HopWindow]:
        """Put the whole hops of these people into their boxes and begin their next ones."""
        if not due:
            return []
        people = [self._people[track] for track in due]
        windows = np.stack([p.ring.window() for p in people])
        joints, confidence = windows[..., :-1], windows[..., -1]
        before = boxes.Box(np.concatenate([p.box.centre for p in people]), np.concatenate([p.box.side for p in people]))
        box = boxes.advance(before, joints[:, -self._hop :], confidence[:, -self._hop :])
        keypoints = boxes.to_keypoints(joints, confidence, box)
        placed = np.concatenate([box.centre, box.side[:, None]], axis=1)

        hops = []
        for row, (track, p) in enumerate(zip(due, people, strict=True)):
            reset = p.hops == 0
            hops.append(HopWindow(track, p.start, p.captured_ns, keypoints[row], placed[row], p.observed, reset))
            p.box = boxes.Box(box.centre[row : row + 1], box.side[row : row + 1])
            p.start += self._hop
            p.observed = p.frames = 0
            p.present = False
            p.hops = (p.hops + 1) % self._keyframe if self._keyframe else p.hops + 1
        return hops
