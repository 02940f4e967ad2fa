"""Ids in as few bits as a prior needs: a range coder, and the reader's side of a stream that both ends walk along.

Coder and decoder of the ids do the same steps with the same numbers: decode the hop before, remember it, ask for the
probabilities of each level. So what one writes the other reads, on the same build of ONNX Runtime and the same kind of
processor; elsewhere a probability may differ in its last bit, and all that follows is wrong then. Whoever keeps what
was written keeps a checksum beside it.
"""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import constriction
import numpy as np
from numpy.typing import NDArray

from engine.prior import Prior
from engine.session import Decoder
from stream.codec.inputs import ABSENT

Words = NDArray[np.uint32]


class Place(NamedTuple):
    """What is known of a hop before its ids. levels: how many ids it has; begins: there is nothing before it."""

    box: Sequence[float]
    levels: int
    begins: bool


def pack(ids: Sequence[NDArray[Any]], places: Sequence[Place], decoder: Decoder, prior: Prior) -> Words:
    """Return the ids of one person's hops, each [levels], in as few words as the prior needs."""
    coder = constriction.stream.queue.RangeEncoder()
    walk = _walk(places, decoder, prior)
    model = next(walk, None)
    for each in ids:
        for number in each.ravel().tolist():
            assert model is not None
            coder.encode(number, model)
            model = walk.send(number)
    words: Words = coder.get_compressed()
    return words


def unpack(words: Words, places: Sequence[Place], decoder: Decoder, prior: Prior) -> list[NDArray[np.uint16]]:
    """Return the ids of hops, each [levels], as they went into `pack` with the same places, decoder and prior."""
    coder = constriction.stream.queue.RangeDecoder(words)
    walk = _walk(places, decoder, prior)
    model = next(walk, None)
    numbers = []
    for place in places:
        ids = []
        for _ in range(place.levels):
            ids.append(int(coder.decode(model)))
            model = walk.send(ids[-1])
        numbers.append(np.array(ids, np.uint16))
    return numbers


def _walk(places: Sequence[Place], decoder: Decoder, prior: Prior) -> Generator[Any, int, None]:
    """Yield the distribution of one id after the other, and be sent what it was; None after the last."""
    levels = decoder.spec.token_grid[0]
    state, memory = decoder.init_state(1), None
    before, joints = np.full((1, levels), ABSENT), np.zeros((1, decoder.spec.hop, 17, decoder.spec.dims), np.float32)
    old = np.zeros((1, decoder.spec.dims + 1), np.float32)
    for place in places:
        box, begins = np.array([place.box], np.float32), np.array([place.begins])
        memory = prior.begin_hop(before, joints, old, box, begins, memory)
        ids = np.full((1, levels), ABSENT)
        for level in range(place.levels):
            logits = prior.level(memory, ids, level)[0].astype(np.float64)
            weights = np.exp(logits - logits.max())
            probabilities = (weights / weights.sum()).astype(np.float32)
            ids[0, level] = yield constriction.stream.model.Categorical(probabilities, perfect=False)
        decoded, state = decoder.step(ids.reshape(1, *decoder.spec.token_grid), begins, state, box=box)
        before, joints, old = ids, decoded.joints, box
    yield None
