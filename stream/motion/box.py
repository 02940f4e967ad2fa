"""The person-centred box: it follows a body hop by hop, looks only back and stays put within a hop.

A hop's box is fixed when its last frame is in, from that hop's joints and the box before it, so a longer
recording never changes an earlier box. Every seen joint of the hop lies inside it. (Scaling by the minimum and
maximum over a whole clip, as offline tokenizers do, would need the future.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.motion.skeleton import SEEN, Array

MARGIN = 0.06
"""Least free space on each side of the body, as a share of its extent: no joint ever touches the edge."""

SHRINK_HALF_LIFE = 60.0
"""Frames after which a box that has grown too large has given back half of its side."""

RECENTRE = 0.5
"""Share of the way to the middle of the body that the centre moves per hop when nothing forces it further."""

SMALLEST = 1.0
"""Least side, px or cm: keeps a body of which only one joint is seen from shrinking its box to nothing."""


@dataclass(frozen=True, slots=True)
class Box:
    """Boxes of B people. centre: float32 [B, D]; side: float32 [B], 0 where nobody has been seen yet."""

    centre: Array
    side: Array

    @staticmethod
    def fresh(batch: int, dims: int) -> "Box":
        """Return the state before the first hop."""
        return Box(np.zeros((batch, dims), np.float32), np.zeros(batch, np.float32))


def advance(box: Box, joints: Array, confidence: Array) -> Box:
    """Return the boxes of the next hop.

    joints: float32 [B, T, 17, D], px or cm; confidence: float32 [B, T, 17]. A person of whom no joint is seen
    keeps the box; with no box yet, one of side `SMALLEST` around the origin stands in.
    """
    seen: NDArray[np.bool_] = (confidence >= SEEN)[..., None]
    low = np.where(seen, joints, np.inf).min(axis=(1, 2))
    high = np.where(seen, joints, -np.inf).max(axis=(1, 2))
    anybody = np.isfinite(low).all(axis=1)
    low = np.where(anybody[:, None], low, box.centre)
    high = np.where(anybody[:, None], high, box.centre)

    extent = (high - low).max(axis=1)
    keep = 0.5 ** (joints.shape[1] / SHRINK_HALF_LIFE)
    side = np.maximum(extent * (1 + 2 * MARGIN), np.where(anybody, box.side * keep, box.side))
    side = np.maximum(side, SMALLEST)

    middle = (low + high) / 2
    fresh = (box.side == 0)[:, None]
    centre = np.where(fresh, middle, box.centre + RECENTRE * (middle - box.centre))
    reach = (side / (2 + 4 * MARGIN))[:, None]  # of the body from the centre, the margin kept
    centre = np.clip(centre, high - reach, low + reach)
    return Box(centre.astype(np.float32), side.astype(np.float32))


def to_box(joints: Array, centre: Array, side: Array) -> Array:
    """Map joints [..., 17, D] in px or cm to box coordinates, [0, 1) inside; centre [..., 1, D], side [..., 1, 1]."""
    return ((joints - centre) / side + 0.5).astype(np.float32)


def from_box(coordinates: Array, box: Sequence[float]) -> Array:
    """Map box coordinates [..., 17, D] back to px or cm; box: the packet's (*centre, side)."""
    centre, side = np.asarray(box[:-1], np.float32), np.float32(box[-1])
    return ((coordinates - 0.5) * side + centre).astype(np.float32)


def to_keypoints(joints: Array, confidence: Array, box: Box) -> Array:
    """Return what a tokenizer sees of one hop: float32 [B, T, 17, D + 1], box coordinates and presence 0 or 1.

    joints: float32 [B, T, 17, D]; confidence: float32 [B, T, 17]. An unseen joint is all zeros, wherever it was
    said to be; so is one outside the box, which happens only to frames older than the hop the box was made for.
    """
    inside = to_box(joints, box.centre[:, None, None], box.side[:, None, None, None])
    present = (confidence >= SEEN) & ((inside >= 0) & (inside < 1)).all(axis=-1)
    return np.concatenate([inside, np.ones_like(inside[..., :1])], axis=-1) * present[..., None]
