"""The windows that a step is trained on, hop by hop as the network has them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.data.dataset import read_clips
from training.data.windows import WindowSampler
from training.predictive.config import PredictiveTrainConfig
from training.predictive.network import PredictiveNetwork

HIDDEN = 0.3
"""Weight of a joint that was hidden from the encoder but is known."""

UNKNOWN_BELOW = -0.99
"""Box coordinate at or below which a joint's true place is not known (`training.data.windows.UNKNOWN`)."""


@dataclass
class Batch:
    """Windows of H hops; P = hop * 17 * D of the V numbers of a hop are coordinates.

    target, known: [B, H, V], as the encoder gets them; truth: [B, H, P]; there: [B, H, hop * 17], weights of
    its joints; boxes: [B, H, D + 1].
    """

    target: Tensor
    known: Tensor
    truth: Tensor
    there: Tensor
    boxes: Tensor


def open_sampler(config: PredictiveTrainConfig) -> WindowSampler:
    """Open the recordings that a run trains on. Raises FileNotFoundError or ValueError where that cannot be done."""
    root = Path(config.data.root)
    return WindowSampler(
        [read_clips(root / group.path) for group in config.data.train],
        [group.share for group in config.data.train],
        config.model.dims,
        config.model.hop,
        config.data.hops,
        config.data.augment,
    )


def draw(sampler: WindowSampler, config: PredictiveTrainConfig, key: list[int]) -> Batch:
    """Draw the windows that a key stands for, the same each time."""
    hops, hop = config.data.hops, config.model.hop
    window = sampler.draw(np.random.default_rng(key), config.data.batch)
    keypoints = torch.from_numpy(window.keypoints).unflatten(1, (hops, hop))
    target, known = (each.unflatten(0, (-1, hops)) for each in PredictiveNetwork.hop_of(keypoints.flatten(0, 1)))
    truth = torch.from_numpy(window.truth).unflatten(1, (hops, hop))
    there = (truth > UNKNOWN_BELOW).all(dim=-1).float() * (HIDDEN + (1 - HIDDEN) * keypoints[..., -1])
    return Batch(target, known, truth.flatten(2), there.flatten(2), torch.from_numpy(window.boxes))
