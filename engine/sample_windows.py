"""Windows of real or built-in motion, as a tokenizer sees them: what engines are calibrated and verified on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.recordings import read_recording
from engine.spec import TokenizerSpec

BUILT_IN = Path(__file__).parent / "motion.npz"
"""The live system's demo, 3D in the box: joints float16 [people, frames, 17, 3], side float32 [people, hops] in cm."""

MARGIN = 0.12
"""Free space around a recorded body, as a share of its extent."""


@dataclass(frozen=True)
class Windows:
    """Hops of several people in step.

    keypoints: float32 [people, hops, hop, 17, D + 1], box coordinates and presence; side: float32 [people, hops], of
    the box in cm.
    """

    keypoints: NDArray[np.float32]
    side: NDArray[np.float32]

    def people(self, count: int) -> "Windows":
        """Return `count` people: these, again from another hop on where there are not enough of them."""
        have, hops = self.side.shape
        turns = [(n % have, (n // have) * hops // 3) for n in range(count)]
        keypoints = np.stack([np.roll(self.keypoints[who], -start, axis=0) for who, start in turns])
        return Windows(keypoints, np.stack([np.roll(self.side[who], -start) for who, start in turns]))


def read_windows(spec: TokenizerSpec, files: Sequence[Path]) -> Windows:
    """Return the windows of recordings, or of the built-in motion where no file is given.

    files: npz with `joints` [N, 17 or 19, 3] in cm, y down (COCO's joints or CMU Panoptic's) and `fps`; a tokenizer of
    2D sees them from the front. Recordings are cut to the shortest. Raises EngineError for a tokenizer that wants
    drawn heatmaps, and for a file that is none of these.
    """
    if spec.input != "keypoints" or spec.window != spec.hop:
        raise EngineError(f"{spec.name} takes no keypoints hop by hop: export it with --input keypoints")
    if not files:
        with np.load(BUILT_IN) as data:
            joints, side = data["joints"].astype(np.float32), data["side"]
        frames = joints.shape[1] // spec.hop * spec.hop
        if spec.hop != 8:
            side = np.repeat(side[:, :1], frames // spec.hop, axis=1)
        return _windows(spec, joints[:, :frames], side)
    read = [_read(file, spec) for file in files]
    hops = min(side.shape[0] for _, side in read)
    joints = np.stack([each[: hops * spec.hop] for each, _ in read])
    return _windows(spec, joints, np.stack([side[:hops] for _, side in read]))


def _windows(spec: TokenizerSpec, joints: NDArray[np.float32], side: NDArray[np.float32]) -> Windows:
    people, frames = joints.shape[:2]
    present = np.isfinite(joints).all(axis=-1, keepdims=True)
    flat = np.concatenate([np.where(present, joints[..., : spec.dims], 0), present], axis=-1, dtype=np.float32)
    return Windows(flat.reshape(people, frames // spec.hop, spec.hop, spec.joints, spec.dims + 1), side)


def _read(file: Path, spec: TokenizerSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One recording at the tokenizer's rate in a box of fixed side that follows hop by hop: joints [N, 17, 3], side."""
    try:
        joints, fps, _ = read_recording(file)
    except (OSError, ValueError) as error:
        raise EngineError(f"{file} is not a recording ({error}): give npz files with joints and fps") from None
    wanted = np.arange(0, (len(joints) - 1) / fps, 1 / spec.fps) * fps
    frames = len(wanted) // spec.hop * spec.hop
    if frames == 0:
        raise EngineError(f"{file} is shorter than one hop of {spec.hop} frames")
    joints = joints[np.round(wanted[:frames]).astype(int)]
    hops = joints.reshape(-1, spec.hop * spec.joints, 3)
    seen = np.isfinite(hops).all(axis=-1, keepdims=True)
    low = np.where(seen, hops, np.inf).min(axis=1)
    high = np.where(seen, hops, -np.inf).max(axis=1)
    if not np.isfinite(low).all() or not np.isfinite(high).all():
        raise EngineError(f"{file} has a hop in which no joint is known: give recordings without such gaps")
    side = float((high - low).max() * (1 + MARGIN))
    if side <= 0:
        raise EngineError(f"{file}: all joints are in one place")
    corner = (low + high) / 2 - side / 2
    inside = (joints - np.repeat(corner, spec.hop, axis=0)[:, None]) / side
    return inside.astype(np.float32), np.full(len(low), side, np.float32)
