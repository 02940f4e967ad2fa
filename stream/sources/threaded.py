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
    Whoever reads several at once calls `take` instead: `arrived` is set whenever there is something new.
    """

    def __init__(
        self, items: Iterable[T], depth: int = DEPTH, idle: float = IDLE, arrived: threading.Event | None = None
    ) -> None:
        self._items, self._idle = items, idle
        self._arrived = arrived
        self._abandoned = threading.Event()
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._thread = threading.Thread(target=self._read, name="reader", daemon=True)
        self.over = False
        """Whether the last item has been taken."""

    def __iter__(self) -> Iterator[T | None]:
        """Yield items until there are no more."""
        try:
            while True:
                item = self.take(self._idle)
                if self.over:
                    return
                yield item
        finally:
            self._abandoned.set()

    def take(self, patience: float = 0.0) -> T | None:
        """Return the next item; None when none comes within `patience` seconds, or none will come any more."""
        if self._thread.ident is None:
            self._thread.start()
        if self.over:
            return None
        try:
            item = self._queue.get(timeout=patience) if patience > 0 else self._queue.get_nowait()
        except queue.Empty:
            return None
        if not isinstance(item, _End):
            return item
        self.over = True
        if item.error:
            raise item.error
        return None

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
                if self._arrived is not None:
                    self._arrived.set()
                return True
            except queue.Full:
                continue
        return False
