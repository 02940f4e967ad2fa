"""Clips: the motion of one person as the 17 joints, and the npz files that hold it on CMU Panoptic's skeleton."""

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.motion.projection import Camera
from stream.motion.skeleton import FROM_PANOPTIC19, Array

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Clip:
    """One person in one recording. joints: float32 [T, 17, 3], cm, y down, floor at y = 0; fps: frames per second.

    measured: bool [T, 17], None where every joint is known; a joint that was not measured has a made-up place.
    content: what the person does, "" where the recording does not say. cameras: that were there.
    """

    name: str
    joints: Array
    fps: float
    measured: Mask | None = None
    content: str = ""
    cameras: tuple[Camera, ...] = ()

    def known(self) -> Mask:
        """Return which joints are known: bool [T, 17]."""
        return np.ones(self.joints.shape[:2], bool) if self.measured is None else self.measured

    def at(self, index: NDArray[np.float64]) -> tuple[Array, Mask]:
        """Return joints and which are known at times counted in frames, 0 to T - 1, by linear interpolation."""
        before = index.astype(int)
        after = np.minimum(before + 1, len(self.joints) - 1)
        share = (index - before).astype(np.float32)[:, None, None]
        known = self.known()
        between = self.joints[before] * (1 - share) + self.joints[after] * share
        return between, known[before] & (known[after] | (share[..., 0] == 0))

    def part(self, start: int, stop: int) -> "Clip":
        """Return the frames from `start` to before `stop`, not copied."""
        measured = None if self.measured is None else self.measured[start:stop]
        return Clip(self.name, self.joints[start:stop], self.fps, measured, self.content, self.cameras)


def read_npz(file: Path) -> list[Clip]:
    """Read one npz file.

    It holds `joints` [N, 19, 3] and `fps`; with `offsets` [clips + 1] and `names` it holds many clips, clip i being
    joints[offsets[i]:offsets[i + 1]]. `content` (or `label`) says what each shows.

    Raises OSError where it cannot be read and ValueError where it is damaged or not of this form.
    """
    try:
        with np.load(file) as archive:
            held = {name: archive[name] for name in archive}
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError) as error:
        raise ValueError(f"damaged ({error})") from error
    if "joints" not in held or "fps" not in held:
        raise ValueError(f"needs the arrays `joints` and `fps`, has {sorted(held)}")
    joints = held["joints"]
    if joints.ndim != 3 or joints.shape[1:] != (19, 3) or joints.dtype.kind not in "fiu" or not len(joints):
        raise ValueError(f"joints must be numbers [N, 19, 3], not {joints.dtype} {list(joints.shape)}")
    if held["fps"].size != 1 or held["fps"].dtype.kind not in "fiu":
        raise ValueError(f"fps must be one number, not {held['fps'].dtype} {list(held['fps'].shape)}")
    fps = float(held["fps"].item())
    if not (np.isfinite(joints).all() and 0 < fps < 1e4):
        raise ValueError("joints and fps must be finite, fps above 0")
    body = joints[:, FROM_PANOPTIC19].astype(np.float32)
    says = held.get("content", held.get("label"))
    if "offsets" not in held:
        return [Clip(file.stem, body, fps, content="" if says is None else str(says))]
    if held["offsets"].ndim != 1 or held["offsets"].dtype.kind not in "iu":
        raise ValueError(f"offsets must be whole numbers [clips + 1], not {held['offsets'].dtype}")
    starts = held["offsets"].tolist()
    names = _texts(held.get("names"), len(starts) - 1)
    contents = _texts(says, len(starts) - 1)
    if sorted(starts) != starts or len(starts) < 2 or starts[0] < 0 or starts[-1] > len(body):
        raise ValueError(f"offsets must rise from 0 to the {len(body)} frames")
    return [
        Clip(name, body[a:b], fps, content=content)
        for name, content, a, b in zip(names, contents, starts[:-1], starts[1:], strict=True)
    ]


def _texts(values: NDArray[np.str_] | None, count: int) -> Sequence[str]:
    if values is None:
        return [""] * count
    if values.shape != (count,):
        raise ValueError(f"names and content must be one per clip, {count}, not {list(values.shape)}")
    return [str(value) for value in values]
