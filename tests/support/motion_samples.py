"""Walking people, a codec that loses nothing or a known amount, and files of motion."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.motion.clips import Clip, Mask
from stream.motion.skeleton import FROM_PANOPTIC19, Array
from stream.sources.demo import demo_pose
from training.evaluation.roundtrip import CodecInfo


class Echo:
    """A codec that moves every joint to the right by a share of the box. Its tokens are 0, 1, 2, 3, 0, ..."""

    def __init__(self, hop: int, off: float = 0.0) -> None:
        self.hop, self.off = hop, off

    def roundtrip(self, keypoints: Array, boxes: Array) -> tuple[NDArray[np.integer], Array]:
        hops = keypoints.shape[1] // self.hop
        moved = keypoints[..., :-1].copy()
        moved[..., 0] += self.off
        return np.arange(hops).reshape(hops, 1, 1, 1, 1) % 4, moved


PLAIN = {
    "width": (1.0, 1.0),
    "speed": (1.0, 1.0),
    "backward": 0.0,
    "exchanged": 0.0,
    "bend": 0.0,
    "length": 0.0,
    "lean": 0.0,
    "noise": 0.0,
    "gappy": 0.0,
    "half": 0.0,
}
"""An augmentation that leaves bodies as they are."""


def sizes(dims: int = 2, hop: int = 8, grid: int = 32) -> CodecInfo:
    """Sizes of an Echo."""
    return CodecInfo("echo", dims, hop, grid, 2.0, 4, 30.0)


def walk(frames: int = 70, fps: float = 30.0, who: int = 0, measured: Mask | None = None) -> Clip:
    joints = np.stack([demo_pose(who, n / fps).joints for n in range(frames)])
    return Clip(f"walk-{who}", joints.astype(np.float32), fps, measured)


def people(count: int, frames: int = 90) -> list[Clip]:
    return [walk(frames, who=who) for who in range(count)]


def write_npz(
    file: Path, frames: int = 60, who: int = 0, more: Mapping[str, NDArray[np.generic]] | None = None
) -> Path:
    """Write one walk on Panoptic's 19 joints, and more arrays by name."""
    joints = np.zeros((frames, 19, 3), np.float32)
    joints[:, FROM_PANOPTIC19] = walk(frames, who=who).joints
    arrays: dict[str, Any] = {"joints": joints, "fps": 30, **(more or {})}
    np.savez(file, **arrays)
    return file


def write_shard(file: Path, contents: list[str], frames: int = 40) -> Path:
    """Write a walk for each content, one after the other."""
    count = len(contents)
    joints = np.zeros((count, frames, 19, 3), np.float32)
    joints[:, :, FROM_PANOPTIC19] = [clip.joints for clip in people(count, frames)]
    names = np.array([f"clip-{n}" for n in range(count)])
    offsets = np.arange(count + 1) * frames
    flat = joints.reshape(-1, 19, 3)
    np.savez(file, joints=flat, fps=30, offsets=offsets, names=names, content=np.array(contents))
    return file
