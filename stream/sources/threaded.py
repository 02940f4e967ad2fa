"""Iterates over something in a thread of its own, so that reading, estimating poses and encoding overlap."""

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

DEPTH = 2
"""Items that may wait between the threads; then the iterable waits, and a live source drops images meanwhile."""

IDLE = 0.25
"""Seconds without an item after which None is yielded, so that whoever iterates can look after other things."""

GIVE_UP_S = 1.0
"""Seconds that closing waits for an iterable that may hang."""


@dataclass(frozen=True)
class _End:
    error: Exception | None = None


class Threaded(Generic[T]):
    """Iterates over `items` elsewhere; here, yields them in order, and None whenever there is none for `idle` seconds.

    What iterating raises is raised here, after the items before it. Iterate once; leaving early ends the reading.
    """

    def __init__(self, items: Iterable[T], depth: int = DEPTH, idle: float = IDLE) -> None:
        self._items, self._idle = items, idle
        self._abandoned = threading.Event()
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._thread = threading.Thread(target=self._read, name="reader", daemon=True)

    def __iter__(self) -> Iterator[T | None]:
        """Yield items until there are no more."""
        self._thread.start()
        try:
            while True:
                try:
                    item = self._queue.get(timeout=self._idle)
                except queue.Empty:
                    yield None
                    continue
                if isinstance(item, _End):
                    if item.error:
                        raise item.error
                    return
                yield item
        finally:
            self._abandoned.set()

    @property
    def depth(self) -> int:
        """Items that wait; may be read from any thread."""
        return self._queue.qsize()

    def close(self, patience: float = GIVE_UP_S) -> None:
        """Take no more, and wait a moment for the thread: it must not outlive the interpreter."""
        self._abandoned.set()
        if self._thread.ident is not None:
            self._thread.join(patience)

    def _read(self) -> None:
        end = _End()
        items = iter(self._items)
        try:
            for item in items:
                if not self._offer(item):
                    break
        except Exception as error:
            end = _End(error)
        if isinstance(items, Generator):  # holds a file or device open until it is closed
            items.close()
        self._offer(end)

    def _offer(self, item: T | _End) -> bool:
        """Hand something over; False when nobody will take it any more."""
        while not self._abandoned.is_set():
            try:
                self._queue.put(item, timeout=self._idle)
                return True
            except queue.Full:
                continue
        return False
