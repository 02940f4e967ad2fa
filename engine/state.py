"""What streams remember from hop to hop: arrays of the host, or rows that stay on a device.

A state belongs to a batch of streams; `join` and `split` change which streams a batch holds. On the host a state is a
plain mapping of arrays. On a device it is a handle: the arrays are fetched only where somebody reads them, and a step
moves them on in place, so a handle given to a step is used up and the one that comes back goes on.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

State = Mapping[str, NDArray[np.float32]]
"""Arrays [B, ...] by path."""


class DeviceState(Mapping[str, NDArray[np.float32]]):
    """A state whose arrays stay on the device. Reading one copies it to the host."""

    @abstractmethod
    def joined(self, others: "Sequence[DeviceState]") -> "DeviceState":
        """Return this batch's streams and then those of the others, all of the same session."""

    @abstractmethod
    def split(self) -> "list[DeviceState]":
        """Return one state per stream."""


def zeros(shapes: Mapping[str, tuple[int, ...]], batch: int) -> State:
    """Return the state on the host of `batch` streams that have seen nothing; the shapes leave out the batch."""
    return {path: np.zeros((batch, *shape), np.float32) for path, shape in shapes.items()}


def join(states: Sequence[State]) -> State:
    """Return the state of all these streams as one batch, in order; at least one must be given."""
    first, others = states[0], states[1:]
    if isinstance(first, DeviceState):
        rows = [other for other in others if isinstance(other, DeviceState)]
        if len(rows) == len(others):
            return first.joined(rows)
    return {path: np.concatenate([state[path] for state in states]) for path in first}


def split(state: State, batch: int) -> list[State]:
    """Return the states of a batch's streams, one each."""
    if isinstance(state, DeviceState):
        return [*state.split()]
    return [{path: array[row : row + 1] for path, array in state.items()} for row in range(batch)]


def rows(batch: int, size: int) -> Iterator[slice]:
    """Cut a batch into parts of at most `size`."""
    return (slice(start, min(start + size, batch)) for start in range(0, batch, size))
