"""Clips: the motion of one person as the 17 joints, and the npz files that hold it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.recordings import read_recording
from stream.motion.projection import Camera
from stream.motion.skeleton import Array

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

    It holds `joints` [N, 17 or 19, 3] and `fps`; with `offsets` [clips + 1] and `names` it holds many clips, clip i
    being joints[offsets[i]:offsets[i + 1]]. `content` (or `label`) says what each shows.

    Raises OSError where it cannot be read and ValueError where it is damaged or not of this form.
    """
    body, fps, held = read_recording(file)
    if not np.isfinite(body).all():
        raise ValueError("joints must be finite")
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
