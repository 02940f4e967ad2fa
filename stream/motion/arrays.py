"""Arrays of joints from anybody: checked, and put on the body of 17."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stream.motion.skeleton import FROM_PANOPTIC19, JOINTS, SEEN, Array, J

DROPPED = "joints[..., :2]"


def checked_joints(joints: ArrayLike, confidence: ArrayLike | None, dims: int) -> tuple[Array, Array]:
    """Return the motion of one person as float32 [T, 17, D] and its confidence as float32 [T, 17].

    joints: numbers [T, 17, D] in COCO's order, or [T, 19, D] in CMU Panoptic's, px or cm; confidence: the same without
    the last axis, 0..1, by default 1 everywhere. A joint below `SEEN` may be anything, also NaN.

    Raises ValueError, naming shape and remedy, for anything else.
    """
    given: NDArray[Any] = np.asarray(joints)
    unit = "cm" if dims == 3 else "px"
    wanted = f"joints must be numbers [T, 17 or 19, {dims}] ({unit})"
    if given.dtype.kind not in "fiu" or given.ndim != 3:
        hint = ": give one person's motion, one frame a row" if given.ndim in (2, 4) else ""
        raise ValueError(f"{wanted}, not {given.dtype} {list(given.shape)}{hint}")
    if given.shape[1] not in (J, 19):
        raise ValueError(
            f"{wanted}, not {list(given.shape)}: take the 17 joints of COCO ({', '.join(JOINTS)}) or the 19 of CMU "
            "Panoptic out of yours, in their order"
        )
    if given.shape[2] != dims:
        other = f"drop an axis with {DROPPED}" if (given.shape[2], dims) == (3, 2) else "choose another tokenizer"
        raise ValueError(f"{wanted} for a {dims}D tokenizer, not {list(given.shape)}: {other}")
    if not len(given):
        raise ValueError(f"{wanted}, not {list(given.shape)}: there is no frame in it")
    sure = _checked_confidence(confidence, given.shape[:2])
    wrong = ~np.isfinite(given).all(axis=-1) & (sure >= SEEN)
    if wrong.any():
        frame, joint = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"joints [{', '.join(map(str, given.shape))}]: {wrong.sum()} of them are not finite, the first at frame "
            f"{frame}, joint {joint}: give a confidence of 0 to joints that were not seen"
        )
    body = np.where((sure >= SEEN)[..., None], given, 0).astype(np.float32)
    if given.shape[1] == J:
        return body, sure
    return body[:, FROM_PANOPTIC19], sure[:, FROM_PANOPTIC19]


def _checked_confidence(confidence: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    if confidence is None:
        return np.ones(shape, np.float32)
    sure: NDArray[Any] = np.asarray(confidence)
    if sure.dtype.kind not in "fiub" or sure.shape != shape:
        raise ValueError(f"confidence must be numbers {list(shape)}, one a joint, not {sure.dtype} {list(sure.shape)}")
    if not ((sure >= 0) & (sure <= 1)).all():
        raise ValueError("confidence must be between 0 and 1 everywhere")
    return sure.astype(np.float32)
