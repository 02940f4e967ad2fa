"""Batches for the steps of a run, drawn ahead by threads while the network works."""

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.config import TrainConfig
from training.data.dataset import read_clips
from training.data.windows import WindowSampler


class BatchLoader:
    """Gives step after step its windows, which depend on seed, step and process only.

    waited: seconds that `take` had to wait for a batch.
    """

    def __init__(self, sampler: WindowSampler, config: TrainConfig, process: int = 0) -> None:
        self.waited = 0.0
        self._sampler, self._config, self._process = sampler, config, process
        self._pool = ThreadPoolExecutor(max(1, config.data.workers), thread_name_prefix="windows")
        self._ahead: deque[tuple[int, Future[tuple[Tensor, Tensor]]]] = deque()

    def take(self, step: int) -> tuple[Tensor, Tensor]:
        """Return keypoints [B, T, V * J, D + 1] and truth [B, T, V * J, D] of a step, on the CPU."""
        if self._ahead and self._ahead[0][0] != step:
            self._ahead.clear()
        start = time.monotonic()
        wanted = range(step, min(step + 1 + 2 * self._config.data.workers, max(step + 1, self._config.optim.steps)))
        for later in wanted[len(self._ahead) :]:
            self._ahead.append((later, self._pool.submit(self._draw, later)))
        batch = self._ahead.popleft()[1].result()
        self.waited += time.monotonic() - start
        return batch

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _draw(self, step: int) -> tuple[Tensor, Tensor]:
        c = self._config
        key = [c.seed, step, self._process] if self._process else [c.seed, step]
        window = self._sampler.draw(np.random.default_rng(key), c.data.batch)
        keypoints, truth = torch.from_numpy(window.keypoints), torch.from_numpy(window.truth)
        if c.model.views == 1:
            return keypoints, truth
        # [B, V, T, J, ...]: the cameras' joints follow each other.
        return keypoints.transpose(1, 2).flatten(2, 3), truth.transpose(1, 2).flatten(2, 3)


def make_sampler(config: TrainConfig) -> WindowSampler:
    """Open the recordings that a run trains on.

    Raises FileNotFoundError or ValueError where they cannot be read or are too short.
    """
    root = Path(config.data.root)
    return WindowSampler(
        [read_clips(root / group.path) for group in config.data.train],
        [group.share for group in config.data.train],
        config.model.dims,
        config.model.packet,
        config.packets,
        config.data.augment,
        config.model.views,
    )
