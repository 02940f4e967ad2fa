"""Work on batches that a GPU records once, as a CUDA graph, and then plays: thousands of small kernels, one launch."""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import torch
from torch import Tensor

from training.predictive.windows import Batch

WARM_UPS = 3
"""Runs before the recording, in which libraries choose their kernels. Gradients that they leave are put to zero."""

T = TypeVar("T")


class Recorded(Generic[T]):
    """A function of a batch, recorded when it is first called. Batches are all of one size.

    What it returns is overwritten by the next call. On a CPU it is called as it is.
    """

    def __init__(self, work: Callable[[Batch], T], device: torch.device, trained: Iterable[Tensor] = ()) -> None:
        self._work, self._device, self._trained = work, device, list(trained)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._batch: Batch
        self._found: T

    def __call__(self, batch: Batch) -> T:
        """Do the work on a batch of the CPU."""
        if self._device.type != "cuda":
            return self._work(batch)
        if self._graph is None:
            self._record(batch)
        assert self._graph is not None
        self._batch.take(batch)
        self._graph.replay()
        return self._found

    def _record(self, batch: Batch) -> None:
        self._batch = batch.to(self._device)
        now, side = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)
        side.wait_stream(now)
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self._work(self._batch)
        now.wait_stream(side)
        for each in self._trained:
            if each.grad is not None:
                each.grad.zero_()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._found = self._work(self._batch)
