"""Places on the GPU for the states of streams that come and go, in blocks that are kept and used again."""

from collections.abc import Callable, Mapping
from typing import Any

BLOCK = 16
"""Streams per allocation."""


class StateSlot:
    """One stream's place. row: where its newest state lies in the graph's working set, None where it lies in its place.

    fresh: nothing has been written yet, the state is zero. The place is given back when nobody holds it any more.
    """

    __slots__ = ("__weakref__", "_free", "fresh", "number", "row")

    def __init__(self, number: int, free: list[int]) -> None:
        self.number, self._free = number, free
        self.fresh = True
        self.row: int | None = None

    def __del__(self) -> None:
        """Give the place back."""
        self._free.append(self.number)


class StatePool:
    """The places of one graph. sizes: bytes of one stream's state, by path; allocate: gives memory of the device."""

    def __init__(self, sizes: Mapping[str, int], allocate: Callable[[int], Any]) -> None:
        self._sizes, self._allocate = dict(sizes), allocate
        self._blocks: list[dict[str, Any]] = []
        self._free: list[int] = []

    def take(self) -> StateSlot:
        """Return a free place, allocating only where all are taken. Raises EngineError where memory is short."""
        if not self._free:
            start = len(self._blocks) * BLOCK
            self._blocks.append({path: self._allocate(size * BLOCK) for path, size in self._sizes.items()})
            self._free += range(start + BLOCK - 1, start - 1, -1)
        return StateSlot(self._free.pop(), self._free)

    def address(self, slot: StateSlot, path: str) -> int:
        """Return where on the device a stream's state lies."""
        block, place = divmod(slot.number, BLOCK)
        return int(self._blocks[block][path]) + place * self._sizes[path]

    def close(self) -> None:
        """Give the memory back."""
        for block in self._blocks:
            for memory in block.values():
                memory.free()
        self._blocks.clear()
