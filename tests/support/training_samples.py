"""Recordings of the demo's motion and a tokenizer small enough to train in a test."""

from pathlib import Path

import numpy as np

from stream.motion.skeleton import FROM_PANOPTIC19
from stream.sources.demo import demo_pose
from training.config import TrainConfig, load_config

SMALL = [
    "model.grid=16",
    "model.hop=4",
    "model.cells=4",
    "model.basis=4",
    "model.vocabulary=16",
    "model.frame_channels=32",
    "model.token_channels=32",
    "model.joint_channels=32",
    "model.frame_blocks=1",
    "model.token_blocks=1",
    "data.hops=2",
    "data.batch=2",
    "optim.plain_steps=3",
    "optim.rise_steps=2",
    "optim.threads=1",
    "save_every=4",
    "validate_every=6",
    "optim.steps=8",
]

ADVERSARY = ["adversary.weight=0.8", "adversary.start=2", "adversary.channels=4", "adversary.layers=2"]


def write_recordings(root: Path) -> Path:
    """Write motion of four people as npz files in their two forms; return the folder."""
    clips = []
    for person in range(4):
        joints = np.zeros((240, 19, 3), np.float32)
        for n in range(240):
            joints[n, FROM_PANOPTIC19] = demo_pose(person, n / 60).joints
        clips.append(joints)
    (root / "single").mkdir()
    np.savez(root / "single" / "walk.npz", joints=clips[0], fps=60)
    (root / "shards").mkdir()
    offsets = np.arange(4) * 240
    names = np.array(["a", "b", "c"])
    np.savez(root / "shards" / "shard_00.npz", joints=np.concatenate(clips[1:]), fps=60, offsets=offsets, names=names)
    return root


def write_config(file: Path, recordings: Path) -> Path:
    """Write a configuration that trains on these recordings."""
    file.write_text(
        f"name: small\nruns: {file.parent / 'runs'}\ndata:\n  root: {recordings}\n"
        "  train: [{path: single, share: 0.5}, {path: shards, share: 0.5}]\n  validate: [single]\n",
        encoding="utf-8",
    )
    return file


def small_config(file: Path, recordings: Path, *changes: str) -> TrainConfig:
    """Return the configuration of a small run."""
    return load_config(write_config(file, recordings), [*SMALL, *changes])
