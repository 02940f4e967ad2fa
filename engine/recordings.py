"""Recordings of joints in npz files: one reader for training, the live system and the builder of engines."""

import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.spec import FROM_PANOPTIC19


class Recording(NamedTuple):
    """joints: float32 [T, 17, 3], cm, in COCO's order; fps: frames per second; more: the other arrays, by name."""

    joints: NDArray[np.float32]
    fps: float
    more: dict[str, NDArray[Any]]


def read_recording(file: Path) -> Recording:
    """Read an npz file with `joints` [T, 17 or 19, 3] (COCO's order or CMU Panoptic's) and `fps`, never a pickle.

    Raises OSError where it cannot be read, ValueError where it is damaged or not of this form. Joints may be NaN.
    """
    try:
        with np.load(file, allow_pickle=False) as archive:
            held = {name: archive[name] for name in archive}
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError) as error:
        raise ValueError(f"damaged ({error})") from error
    if "joints" not in held or "fps" not in held:
        raise ValueError(f"needs the arrays `joints` and `fps`, has {sorted(held)}")
    joints, fps = held.pop("joints"), held.pop("fps")
    if joints.ndim != 3 or joints.shape[1:] not in ((17, 3), (19, 3)) or joints.dtype.kind not in "fiu":
        raise ValueError(f"joints must be numbers [T, 17 or 19, 3], not {joints.dtype} {list(joints.shape)}")
    if not len(joints):
        raise ValueError("joints must be at least one frame, not 0")
    if fps.size != 1 or fps.dtype.kind not in "fiu":
        raise ValueError(f"fps must be one number, not {fps.dtype} {list(fps.shape)}")
    if not 0 < (rate := float(fps.item())) < 1e4:
        raise ValueError(f"fps must be above 0 and below 10000, not {rate:g}")
    body = joints if joints.shape[1] == 17 else joints[:, FROM_PANOPTIC19]
    return Recording(body.astype(np.float32), rate, held)
