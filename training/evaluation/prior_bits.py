"""What ids cost under a prior: the bits that an ideal coder with it needs. How many levels a hop has is not counted."""

from collections.abc import Sequence

import numpy as np

from engine.prior import Prior
from stream.codec.inputs import levels_of
from stream.motion.skeleton import J
from training.evaluation.roundtrip import Track


def bits_of(prior: Prior, tracks: Sequence[Track], hop: int) -> float:
    """Return the bits of the ids of recordings of whole hops, each coded from its beginning."""
    return sum(_bits(prior, track, hop) for track in tracks)


def _bits(prior: Prior, track: Track, hop: int) -> float:
    """Return the bits of one recording: hop after hop what is remembered, then each level of all hops at once."""
    counts = levels_of(track.tokens)
    ids = track.tokens.reshape(len(track.tokens), -1)
    boxes = _boxes(track)[::hop]
    joints = track.placed.reshape(-1, hop, J, track.placed.shape[-1])
    memories, memory = [], None
    for number in range(len(ids)):
        before = slice(max(number - 1, 0), max(number, 1))
        begins = np.array([number == 0])
        memory = prior.begin_hop(ids[before], joints[before], boxes[before], boxes[number : number + 1], begins, memory)
        memories.append(memory)
    remembered, total = np.concatenate(memories), 0.0
    for level in range(ids.shape[1]):
        there = counts > level
        if not there.any():
            break
        known = np.where(np.arange(ids.shape[1]) < level, ids[there], -1)
        logits = prior.level(remembered[there], known, level).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        taken = np.take_along_axis(logits, ids[there, level : level + 1].astype(np.int64), axis=1)[:, 0]
        total += float((np.log(np.exp(logits).sum(axis=1)) - taken).sum()) / np.log(2)
    return total


def _boxes(track: Track) -> np.ndarray:
    """Return the box of each frame, [T, D + 1]."""
    side = track.side[:, :1].astype(np.float32)
    centre = track.decoded[:, 0] - (track.placed[:, 0] - 0.5) * side
    return np.concatenate([centre, side], axis=1)
