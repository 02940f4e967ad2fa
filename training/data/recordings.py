"""Recordings of motion on CMU Panoptic's skeleton, read from npz files, as clips of the 17 joints."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stream.motion.skeleton import FROM_PANOPTIC19, Array


@dataclass(frozen=True)
class Clip:
    """One recording. joints: float32 [T, 17, 3], cm, y down, floor at y = 0; fps: frames per second."""

    name: str
    joints: Array
    fps: float


def read_clips(path: Path) -> list[Clip]:
    """Read an npz file or every npz file in a folder.

    A file holds `joints` [N, 19, 3] and `fps`; with `offsets` [clips + 1] and `names` it holds many clips, clip i
    being joints[offsets[i]:offsets[i + 1]].

    Raises FileNotFoundError where there is nothing to read and ValueError where a file is not of this form.
    """
    files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise FileNotFoundError(f"no npz recordings at {path}")
    return [clip for file in files for clip in _read_file(file)]


def _read_file(file: Path) -> list[Clip]:
    with np.load(file) as archive:
        if "joints" not in archive or "fps" not in archive:
            raise ValueError(f"{file}: needs the arrays `joints` and `fps`, has {sorted(archive)}")
        joints, fps = archive["joints"], float(archive["fps"])
        if joints.ndim != 3 or joints.shape[1:] != (19, 3):
            raise ValueError(f"{file}: joints must be [N, 19, 3], not {list(joints.shape)}")
        body = joints[:, FROM_PANOPTIC19].astype(np.float32)
        if "offsets" not in archive:
            return [Clip(file.stem, body, fps)]
        starts = archive["offsets"]
        names = [str(name) for name in archive["names"]]
    return [Clip(name, body[a:b], fps) for name, a, b in zip(names, starts[:-1], starts[1:], strict=True)]
