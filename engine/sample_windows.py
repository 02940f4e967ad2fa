"""Windows of real or built-in motion, as a tokenizer sees them: what engines are calibrated and verified on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.recordings import read_recording
from engine.spec import Part, TokenizerSpec, added_inputs

BUILT_IN = Path(__file__).parent / "motion.npz"
"""The live system's demo, 3D in the box of each hop of `HOP` frames.

joints: float16 [people, frames, 17, 3]; centre: float32 [people, hops, 3], side: float32 [people, hops], in cm.
"""

HOP = 8

MARGIN = 0.12
"""Free space around a recorded body, as a share of its extent."""


@dataclass(frozen=True)
class Windows:
    """Hops of several people in step.

    keypoints: float32 [people, hops, hop, 17, D + 1], box coordinates and presence; box: float32 [people, hops, D + 1],
    (*centre, side) in cm.
    """

    keypoints: NDArray[np.float32]
    box: NDArray[np.float32]

    @property
    def side(self) -> NDArray[np.float32]:
        """Of the boxes: [people, hops], cm."""
        return self.box[..., -1]

    def people(self, count: int) -> "Windows":
        """Return `count` people: these, again from another hop on where there are not enough of them."""
        have, hops = self.side.shape
        turns = [(n % have, (n // have) * hops // 3) for n in range(count)]
        return Windows(
            np.stack([np.roll(self.keypoints[who], -start, axis=0) for who, start in turns]),
            np.stack([np.roll(self.box[who], -start, axis=0) for who, start in turns]),
        )

    def first(self, hops: int) -> "Windows":
        """Return the first hops."""
        return Windows(self.keypoints[:, :hops], self.box[:, :hops])

    def added(self, spec: TokenizerSpec, part: Part, who: NDArray[np.int_], hop: int) -> dict[str, NDArray[np.float32]]:
        """Return what a graph takes beside `x` or `tokens` for one hop of these people: see `added_inputs`.

        In one of five hops a person's encoder may use half of the levels only.
        """
        feeds = usual_added(spec, part, len(who))
        if "box" in feeds:
            feeds["box"] = np.ascontiguousarray(self.box[who, hop])
        if "levels" in feeds:
            feeds["levels"] = np.where((who + hop) % 5 == 0, feeds["levels"] // 2, feeds["levels"])
        return feeds


def usual_added(spec: TokenizerSpec, part: Part, batch: int) -> dict[str, NDArray[np.float32]]:
    """Return what a graph takes beside `x` or `tokens` for people who stand two metres tall: see `added_inputs`."""
    usual = {"box": [0.0] * spec.dims + [200.0], "levels": float(spec.token_grid[0]), "tolerance": 0.0}
    return {name: np.array([usual[name]] * batch, np.float32) for name in added_inputs(spec, part)}


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
            joints, centre, side = (data[name].astype(np.float32) for name in ("joints", "centre", "side"))
        box = np.concatenate([centre, side[..., None]], axis=-1)
        if spec.hop != HOP:
            each = np.repeat(box, HOP, axis=1)[:, :, None]
            placed = [_placed(body, spec) for body in (joints - 0.5) * each[..., 3:] + each[..., :3]]
            joints, box = (np.stack(part) for part in zip(*placed, strict=True))
        return _windows(spec, joints, box)
    read = [_read(file, spec) for file in files]
    hops = min(len(box) for _, box in read)
    joints = np.stack([each[: hops * spec.hop] for each, _ in read])
    return _windows(spec, joints, np.stack([box[:hops] for _, box in read]))


def _windows(spec: TokenizerSpec, joints: NDArray[np.float32], box: NDArray[np.float32]) -> Windows:
    people, frames = joints.shape[:2]
    present = np.isfinite(joints).all(axis=-1, keepdims=True)
    flat = np.concatenate([np.where(present, joints[..., : spec.dims], 0), present], axis=-1, dtype=np.float32)
    keypoints = flat.reshape(people, frames // spec.hop, spec.hop, spec.joints, spec.dims + 1)
    return Windows(keypoints, np.concatenate([box[..., : spec.dims], box[..., 3:]], axis=-1))


def _read(file: Path, spec: TokenizerSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One recording at the tokenizer's rate, as `_placed` gives it."""
    try:
        joints, fps, _ = read_recording(file)
    except (OSError, ValueError) as error:
        raise EngineError(f"{file} is not a recording ({error}): give npz files with joints and fps") from None
    wanted = np.arange(0, (len(joints) - 1) / fps, 1 / spec.fps) * fps
    if len(wanted) < spec.hop:
        raise EngineError(f"{file} is shorter than one hop of {spec.hop} frames")
    try:
        return _placed(joints[np.round(wanted).astype(int)], spec)
    except ValueError as error:
        raise EngineError(f"{file}: {error}") from None


def _placed(joints: NDArray[np.floating], spec: TokenizerSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Put joints [N, 17, 3] in cm into a box of fixed side that follows hop by hop; what is no whole hop is left out.

    Returns joints [M, 17, 3] in the box, and the boxes [hops, 4]. Raises ValueError for joints that no box holds.
    """
    frames = len(joints) // spec.hop * spec.hop
    hops = joints[:frames].reshape(-1, spec.hop * spec.joints, 3)
    seen = np.isfinite(hops).all(axis=-1, keepdims=True)
    low = np.where(seen, hops, np.inf).min(axis=1)
    high = np.where(seen, hops, -np.inf).max(axis=1)
    if not np.isfinite(low).all() or not np.isfinite(high).all():
        raise ValueError("a hop in which no joint is known: give recordings without such gaps")
    side = float((high - low).max() * (1 + MARGIN))
    if side <= 0:
        raise ValueError("all joints are in one place")
    centre = (low + high) / 2
    inside = (joints[:frames] - np.repeat(centre, spec.hop, axis=0)[:, None]) / side + 0.5
    box = np.concatenate([centre, np.full((len(centre), 1), side)], axis=1)
    return inside.astype(np.float32), box.astype(np.float32)
