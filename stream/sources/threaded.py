"""A source in a thread of its own, so that estimating poses, encoding and publishing overlap."""

import queue
import threading
from collections.abc import Iterator

from stream.sources.base import PoseFrame, PoseSource

DEPTH = 2
"""Frames that may wait between the threads. When they do, the source waits, and a live one drops images meanwhile."""

PATIENCE = 1.0
"""Seconds that closing waits for a source that may hang."""


class Feed:
    """Iterates over a source elsewhere; here, yields its frames, and None whenever there is none for a while.

    What the source raises is raised here, after the frames before it. Iterate once; leaving early ends the reading.
    """

    def __init__(self, source: PoseSource, idle: float = 0.25) -> None:
        self._source, self._idle = source, idle
        self._abandoned = threading.Event()
        self._frames: queue.Queue[PoseFrame | Exception | None] = queue.Queue(DEPTH)
        self._thread = threading.Thread(target=self._read, name="source", daemon=True)

    def __iter__(self) -> Iterator[PoseFrame | None]:
        """Yield frames until the source ends."""
        self._thread.start()
        try:
            while True:
                try:
                    frame = self._frames.get(timeout=self._idle)
                except queue.Empty:
                    yield None
                    continue
                if frame is None:
                    return
                if isinstance(frame, Exception):
                    raise frame
                yield frame
        finally:
            self._abandoned.set()

    @property
    def depth(self) -> int:
        """Frames that wait; may be read from any thread."""
        return self._frames.qsize()

    def close(self) -> None:
        """Wait a moment for the thread, once the source is closed: it must not outlive the interpreter."""
        self._abandoned.set()
        self._thread.join(PATIENCE)

    def _read(self) -> None:
        end: Exception | None = None
        try:
            for frame in self._source:
                if not self._offer(frame):
                    return
        except Exception as error:
            end = error
        self._offer(end)

    def _offer(self, item: PoseFrame | Exception | None) -> bool:
        """Hand something over; False when nobody will take it any more."""
        while not self._abandoned.is_set():
            try:
                self._frames.put(item, timeout=self._idle)
                return True
            except queue.Full:
                continue
        return False
