"""What a tokenizer's graphs take for a hop, and ids as packets carry them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.spec import TokenizerSpec
from stream.codec.rate import Rate
from stream.motion.heatmap import draw
from stream.motion.skeleton import Array

Ids = NDArray[np.uint16]
"""[n, t, h, w]: of the first n levels of a hop; n is less than all only where a tokenizer is predictive."""

Boxes = Sequence[Sequence[float]] | Array
"""Of B hops: each (*centre, side), px or cm."""

ABSENT = -1
"""Stands for the ids of a level that is not there."""


def encoder_inputs(spec: TokenizerSpec, keypoints: Array, boxes: Boxes, rate: Rate) -> tuple[Array, dict[str, Any]]:
    """Return `x` and what else an encoder takes. keypoints: float32 [B, window, 17, D + 1], as from a `Framer`."""
    x = draw(keypoints, spec.grid, spec.sigma) if spec.input == "heatmaps" else keypoints
    if not spec.predictive:
        return x, {}
    return x, {"box": np.asarray(boxes, np.float32), **rate.inputs(spec, boxes)}


def decoder_inputs(
    spec: TokenizerSpec, ids: Sequence[Ids], boxes: Boxes
) -> tuple[NDArray[np.int32], dict[str, NDArray[np.float32]]]:
    """Return `tokens`, int32 [B, L, t, h, w], and what else a decoder takes."""
    added = {"box": np.asarray(boxes, np.float32)} if spec.predictive else {}
    return padded(ids, spec.token_grid[0]), added


def padded(ids: Sequence[NDArray[Any]], levels: int) -> NDArray[np.int32]:
    """Return the ids of hops side by side, int32 [B, levels, t, h, w], `ABSENT` where a hop has no such level."""
    whole = np.full((len(ids), levels, *ids[0].shape[1:]), ABSENT, np.int32)
    for row, each in zip(whole, ids, strict=True):
        row[: len(each)] = each
    return whole


def levels_of(tokens: NDArray[Any]) -> NDArray[np.int64]:
    """Return how many levels each hop of [B, L, t, h, w] has: int64 [B]. Raises ValueError for gaps among them."""
    there = (tokens >= 0).reshape(*tokens.shape[:2], -1)
    counts: NDArray[np.int64] = there.any(axis=2).sum(axis=1)
    if (there != (np.arange(tokens.shape[1]) < counts[:, None])[..., None]).any():
        raise ValueError("only the last levels of a hop may be left out: -1 stands after all other ids")
    return counts


def present(tokens: NDArray[Any]) -> list[Ids]:
    """Return the ids of the levels that are there, of each hop of [B, L, t, h, w]. Raises ValueError as `levels_of`."""
    return [each[:count].astype(np.uint16) for each, count in zip(tokens, levels_of(tokens), strict=True)]
