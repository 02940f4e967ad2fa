"""The windows that a step is trained on, hop by hop as the network has them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

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

    def to(self, device: torch.device) -> "Batch":
        """Return a copy on a device."""
        return Batch(*(each.to(device, copy=True) for each in vars(self).values()))

    def take(self, other: "Batch") -> None:
        """Become equal to another batch of the same sizes."""
        for own, theirs in zip(vars(self).values(), vars(other).values(), strict=True):
            own.copy_(theirs, non_blocking=True)


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


class _Steps(Dataset[Batch]):
    """The batches of a run, by step."""

    def __init__(self, sampler: WindowSampler, config: PredictiveTrainConfig) -> None:
        self._sampler, self._config = sampler, config

    def __getitem__(self, step: int) -> Batch:
        return draw(self._sampler, self._config, [self._config.seed, step])


class BatchLoader:
    """Gives step after step its windows, which depend on seed and step only.

    `data.workers` processes draw them ahead; with none they are drawn when they are asked for.
    waited: seconds that `take` took.
    """

    def __init__(self, sampler: WindowSampler, config: PredictiveTrainConfig) -> None:
        self.waited = 0.0
        self._steps, self._config = _Steps(sampler, config), config
        self._ahead: Iterator[Batch] = iter(())
        self._next = -1

    def take(self, step: int) -> Batch:
        """Return the windows of a step, on the CPU."""
        start = time.monotonic()
        if step != self._next:
            o, workers = self._config.optim, self._config.data.workers
            order = range(step, max(step + 1, o.steps))
            self._ahead = iter(DataLoader(self._steps, batch_size=None, sampler=order, num_workers=workers))
        batch = next(self._ahead)
        self._next = step + 1
        self.waited += time.monotonic() - start
        return batch

    def close(self) -> None:
        """End the processes."""
        self._ahead = iter(())
