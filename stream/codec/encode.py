"""Hops to tokens: one batched encoder step for all hops that end together."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.session import Encoder, State
from engine.state import join, split
from stream.codec.framing import Framer, HopWindow
from stream.motion.clock import FPS
from stream.motion.heatmap import draw
from stream.motion.skeleton import Array
from stream.sources.base import PoseFrame

Ids = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Hop:
    """One hop of tokens of one person: what becomes a packet.

    frame: tick of the hop's first frame; captured_ns: capture time of its last; ids: uint16 [L, t, h, w];
    box: (*centre, side) in px or cm; observed: bit i set where frame i was seen; reset: the state began afresh.
    """

    track: int
    frame: int
    captured_ns: int
    ids: Ids
    box: tuple[float, ...]
    observed: int
    reset: bool


def encode_step(encoder: Encoder, keypoints: Array, reset: NDArray[np.bool_], state: State) -> tuple[Ids, State]:
    """Encode one hop of B streams.

    keypoints: float32 [B, window, 17, D + 1], box coordinates and presence; reset: bool [B], this stream begins afresh.
    Returns ids uint16 [B, L, t, h, w] and the new state.
    """
    spec = encoder.spec
    x = draw(keypoints, spec.grid, spec.sigma) if spec.input == "heatmaps" else keypoints
    encoded, state = encoder.step(x, reset, state)
    return encoded.tokens.astype(np.uint16), state


class HopEncoder:
    """Encodes the hops of any number of people, each with a state of its own."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._states: dict[Hashable, State] = {}

    def encode(self, hops: Sequence[HopWindow], people: Sequence[Hashable] | None = None) -> list[Hop]:
        """Encode the next hops of different people in one step; each person's come in order.

        people: who they are, by default their tracks.
        """
        keys = [hop.track for hop in hops] if people is None else people
        before = [self._states.get(key) for key in keys]
        states = [self.encoder.init_state(1) if state is None else state for state in before]
        reset = np.array([hop.reset for hop in hops])
        ids, state = encode_step(self.encoder, np.stack([hop.keypoints for hop in hops]), reset, join(states))
        self._states.update(zip(keys, split(state, len(hops)), strict=True))
        return [
            Hop(h.track, h.frame, h.captured_ns, ids[row], tuple(map(float, h.box)), h.observed, h.reset)
            for row, h in enumerate(hops)
        ]

    def keep(self, worth: Callable[[Hashable], bool]) -> None:
        """Drop the states of all people who are not worth keeping; their next hop begins afresh."""
        self._states = {key: state for key, state in self._states.items() if worth(key)}


class Pipeline:
    """Encodes the people of a source. Same frames in, same hops out, however they are paced.

    fps: of the fixed clock. keyframe: hops after which a person's state is reset so that readers can start exactly
    there; 0 for never.
    """

    def __init__(self, encoder: Encoder, fps: float = FPS, keyframe: int = 0) -> None:
        spec = encoder.spec
        self._framer = Framer(spec.window, spec.hop, spec.dims, fps, keyframe)
        self._encoder = HopEncoder(encoder)

    @property
    def surplus(self) -> int:
        """Frames left out because the source is faster than the clock."""
        return self._framer.surplus

    @property
    def too_slow(self) -> float | None:
        """Frames a second of a source that is too slow to be followed; None where it is not."""
        return self._framer.too_slow

    @property
    def people(self) -> int:
        """People being encoded now."""
        return len(self._framer.tracks)

    def push(self, frame: PoseFrame) -> list[Hop]:
        """Take one frame and return the hops that it completes."""
        return self._encode(self._framer.push(frame))

    def flush(self) -> list[Hop]:
        """Complete the hops in hand with held frames, as at the end of a recording, and forget everybody."""
        return self._encode(self._framer.flush())

    def _encode(self, groups: list[list[HopWindow]]) -> list[Hop]:
        hops = [hop for group in groups for hop in self._encoder.encode(group)]
        # Somebody who left and came back within the frame keeps a state that the reset of their first hop clears.
        self._encoder.keep(self._framer.tracks.__contains__)
        return hops
