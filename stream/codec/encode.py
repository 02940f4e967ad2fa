"""From poses to tokens: clock, per-person ring and box, one batched encoder step for all hops that end together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.session import Encoder, State
from engine.state import join, split
from stream.codec.ring import Ring
from stream.motion import box as boxes
from stream.motion.clock import FPS, MAX_HOLD, Clock, Tick
from stream.motion.heatmap import draw
from stream.motion.skeleton import J, Pose
from stream.sources.base import PoseFrame

TOGETHER = 4
"""People whose hops may end on the same tick before newcomers are moved to quieter ticks."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One hop of tokens of one person: what becomes a packet.

    frame: tick of the hop's first frame; captured_ns: capture time of its last; ids: uint16 [L, t, h, w];
    box: (*centre, side) in px or cm; observed: bit i set where frame i was seen; reset: the state began afresh.
    """

    track: int
    frame: int
    captured_ns: int
    ids: NDArray[np.uint16]
    box: tuple[float, ...]
    observed: int
    reset: bool


@dataclass(slots=True)
class _Person:
    """The state of one person's stream."""

    ring: Ring
    box: boxes.Box
    state: State
    start: int  # tick of the first frame of the hop in hand
    last: Pose
    observed: int = 0
    frames: int = 0  # of the hop in hand
    hidden: int = 0  # ticks since the person was last seen
    hops: int = 0  # since the last reset
    captured_ns: int = 0


@dataclass
class Pipeline:
    """Encodes the people of a source. Same frames in, same hops out, however they are paced.

    fps: of the fixed clock. keyframe: hops after which a person's state is reset so that readers can start exactly
    there; 0 for never.
    """

    encoder: Encoder
    fps: float = FPS
    keyframe: int = 0

    def __post_init__(self) -> None:
        """Start with nobody."""
        self._clock = Clock(self.fps)
        self._people: dict[int, _Person] = {}
        self._ends: dict[int, int] = {}  # tick after the last hop of those who left: their packets never overlap
        self._hop = self.encoder.spec.hop

    @property
    def surplus(self) -> int:
        """Frames left out because the source is faster than the clock."""
        return self._clock.surplus

    @property
    def people(self) -> int:
        """People being encoded now."""
        return len(self._people)

    def push(self, frame: PoseFrame) -> list[Hop]:
        """Take one frame and return the hops that it completes."""
        ticks = self._clock.advance(frame.people, frame.time, frame.captured_ns)
        return [hop for tick in ticks for hop in self._tick(tick)]

    def flush(self) -> list[Hop]:
        """Complete the hops in hand with held frames, as at the end of a recording, and forget everybody."""
        return self._dismiss(list(self._people))

    def _tick(self, tick: Tick) -> list[Hop]:
        # A jump of the clock ends every stream it skips over: frames across it are not evenly spaced.
        hops = self._dismiss([track for track, p in self._people.items() if p.start + p.frames < tick.index])
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
            self._take(person, now or person.last, tick.seen and now is not None, tick.captured_ns)
            if person.frames == self._hop and person.observed:
                due.append(track)
            elif person.frames == self._hop:
                gone.append(track)  # nothing of a whole hop was seen: they left with the one before
        return hops + self._dismiss(gone) + self._encode(due)

    def _dismiss(self, tracks: list[int]) -> list[Hop]:
        """Forget these people; what was seen of them in the hop in hand still goes out, completed with held frames."""
        unfinished = [track for track in tracks if self._people[track].observed]
        for track in unfinished:
            person = self._people[track]
            while person.frames < self._hop:
                self._take(person, person.last, False, person.captured_ns)
        hops = self._encode(unfinished)
        for track in tracks:
            self._ends[track] = self._people.pop(track).start
        return hops

    def _arrive(self, track: int, pose: Pose, tick: Tick) -> _Person:
        """Make room for a newcomer, on a tick where few hops end, so that the load is even.

        The hop begins earlier than the person where that is needed, with the first pose held; at the very start of a
        recording, where there is no earlier, it begins up to a hop later, and those frames are not encoded.
        """
        spec = self.encoder.spec
        busy = np.zeros(self._hop, int)
        for person in self._people.values():
            busy[person.start % self._hop] += 1
        start = tick.index
        if busy[start % self._hop] >= TOGETHER:
            start -= (start - int(busy.argmin())) % self._hop
            start += self._hop if start < self._ends.get(track, 0) else 0
        ring = Ring(spec.window, (J, spec.dims + 1))
        person = _Person(ring, boxes.Box.fresh(1, spec.dims), self.encoder.init_state(1), start, pose)
        for _ in range(start, tick.index):
            self._take(person, pose, False, tick.captured_ns)
        return person

    def _take(self, person: _Person, pose: Pose, seen: bool, captured_ns: int) -> None:
        person.ring.push(np.concatenate([pose.joints, pose.confidence[:, None]], axis=1))
        person.observed |= seen << person.frames
        person.frames += 1
        person.last, person.captured_ns = pose, captured_ns

    def _encode(self, due: list[int]) -> list[Hop]:
        """Encode the hops of these people in one step."""
        if not due:
            return []
        people = [self._people[track] for track in due]
        reset = np.array([p.hops == 0 for p in people])
        windows = np.stack([p.ring.window() for p in people])
        joints, confidence = windows[..., :-1], windows[..., -1]
        before = boxes.Box(np.concatenate([p.box.centre for p in people]), np.concatenate([p.box.side for p in people]))
        box = boxes.advance(before, joints[:, -self._hop :], confidence[:, -self._hop :])
        x = boxes.to_keypoints(joints, confidence, box)
        spec = self.encoder.spec
        if spec.input == "heatmaps":
            x = draw(x, spec.grid, spec.sigma)
        encoded, state = self.encoder.step(x, reset, join([p.state for p in people]))

        hops = []
        states = split(state, len(people))
        for row, (track, person) in enumerate(zip(due, people, strict=True)):
            person.box = boxes.Box(box.centre[row : row + 1], box.side[row : row + 1])
            person.state = states[row]
            where = (*map(float, box.centre[row]), float(box.side[row]))
            ids = encoded.tokens[row].astype(np.uint16)
            hops.append(Hop(track, person.start, person.captured_ns, ids, where, person.observed, bool(reset[row])))
            person.start += self._hop
            person.observed = person.frames = 0
            person.hops = (person.hops + 1) % self.keyframe if self.keyframe else person.hops + 1
        return hops
