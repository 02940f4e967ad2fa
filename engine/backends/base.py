"""What a backend gives: a graph that maps named arrays to named arrays."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from engine.state import DeviceState, State

Arrays = dict[str, NDArray[Any]]

Precision = Literal["fp32", "fp16", "bf16", "int8"]
"""What the products of a graph are computed in; distances to codes and what is read from them stay in float32."""


class Graph(Protocol):
    """A compiled graph. The batch, the first axis of all arrays, may differ from call to call."""

    inputs: dict[str, tuple[int | None, ...]]
    outputs: tuple[str, ...]

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run once. The arrays returned are the caller's to keep."""


@runtime_checkable
class DeviceGraph(Graph, Protocol):
    """A graph that keeps the states of its streams on a device from step to step."""

    def init_state(self, batch: int) -> DeviceState:
        """Return the state of `batch` streams that have seen nothing."""

    def step(self, feeds: Mapping[str, NDArray[Any]], state: State) -> tuple[Arrays, DeviceState]:
        """Run once on all inputs but the states, and on these streams' states, which move on.

        A state of the host is taken in first. Returns the other outputs, the caller's to keep, and the state.
        """


def zeros(inputs: Mapping[str, tuple[int | None, ...]], batch: int) -> Arrays:
    """Return feeds of zeros: float32, but int32 for `tokens`."""
    return {
        name: np.zeros((batch, *(size or 1 for size in shape[1:])), np.int32 if name == "tokens" else np.float32)
        for name, shape in inputs.items()
    }
