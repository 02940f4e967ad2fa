"""What a backend gives: a graph that maps named arrays to named arrays."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


class Graph(Protocol):
    """A compiled graph. The batch, the first axis of all arrays, may differ from call to call."""

    inputs: dict[str, tuple[int | None, ...]]
    outputs: tuple[str, ...]

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run once. The arrays returned are the caller's to keep."""


def zeros(inputs: Mapping[str, tuple[int | None, ...]], batch: int) -> Arrays:
    """Return feeds of zeros: float32, but int32 for `tokens`."""
    return {
        name: np.zeros((batch, *(size or 1 for size in shape[1:])), np.int32 if name == "tokens" else np.float32)
        for name, shape in inputs.items()
    }
