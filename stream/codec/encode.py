"""Hops to tokens: one batched encoder step for all hops that end together."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.session import Encoder, State
from engine.state import join, split
from stream.codec.framing import Framer, HopWindow
from stream.codec.inputs import Boxes, Ids, encoder_inputs, present
from stream.codec.rate import FULL, Rate
from stream.motion.clock import FPS
from stream.motion.skeleton import Array
from stream.sources.base import PoseFrame


@dataclass(frozen=True, slots=True)
class Hop:
    """One hop of tokens of one person: what becomes a packet.

    frame: tick of the hop's first frame; captured_ns: capture time of its last; ids: uint16 [n, t, h, w], of the first
    n of L levels, all but where a tokenizer is predictive; box: (*centre, side) in px or cm; observed: bit i set where
    frame i was seen; reset: the state began afresh.
    """

    track: int
    frame: int
    captured_ns: int
    ids: Ids
    box: tuple[float, ...]
    observed: int
    reset: bool


def encode_step(
    encoder: Encoder, keypoints: Array, boxes: Boxes, reset: NDArray[np.bool_], state: State, rate: Rate = FULL
) -> tuple[list[Ids], State]:
    """Encode one hop of B streams.

    keypoints: float32 [B, window, 17, D + 1], box coordinates and presence; boxes: each (*centre, side), px or cm;
    reset: bool [B], this stream begins afresh; rate: how many levels to use. Returns the ids of each, uint16
    [n, t, h, w], and the new state.
    """
    x, added = encoder_inputs(encoder.spec, keypoints, boxes, rate)
    encoded, state = encoder.step(x, reset, state, **added)
    return present(encoded.tokens), state


class HopEncoder:
    """Encodes the hops of any number of people, each with a state of their own.

    rate: how many levels to use; it may be changed at any time. Raises ValueError for one that the tokenizer lacks.
    """

    def __init__(self, encoder: Encoder, rate: Rate = FULL) -> None:
        self.encoder, self.rate = encoder, rate.fit(encoder.spec)
        self._states: dict[Hashable, State] = {}

    def encode(self, hops: Sequence[HopWindow], people: Sequence[Hashable] | None = None) -> list[Hop]:
        """Encode the next hops of different people in one step; each person's come in order.

        people: who they are, by default their tracks.
        """
        keys = [hop.track for hop in hops] if people is None else people
        before = [self._states.get(key) for key in keys]
        states = [self.encoder.init_state(1) if state is None else state for state in before]
        reset = np.array([hop.reset for hop in hops])
        keypoints, placed = np.stack([hop.keypoints for hop in hops]), np.stack([hop.box for hop in hops])
        ids, state = encode_step(self.encoder, keypoints, placed, reset, join(states), self.rate)
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
    there; 0 for never. rate: as of `HopEncoder`.
    """

    def __init__(self, encoder: Encoder, fps: float = FPS, keyframe: int = 0, rate: Rate = FULL) -> None:
        spec = encoder.spec
        self._framer = Framer(spec.window, spec.hop, spec.dims, fps, keyframe)
        self._encoder = HopEncoder(encoder, rate)

    @property
    def rate(self) -> Rate:
        """How many levels hops take from now on."""
        return self._encoder.rate

    @rate.setter
    def rate(self, rate: Rate) -> None:
        self._encoder.rate = rate.fit(self._encoder.encoder.spec)

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
