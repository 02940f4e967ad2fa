"""Keeps a producer's own packets in a log from a thread of its own: the live path never waits for a disk."""

import contextlib
import queue
import threading
import time
from pathlib import Path

from stream.errors import IncompleteLogError
from stream.log.writer import COMMIT_INTERVAL, TokenLog
from stream.wire.packets import Packet

QUEUE = 10_000
"""Packets that wait for a slow disk, some 6 MB; beyond them packets go out live and are missing in the log."""

PATIENCE = 1.0
"""Seconds that closing gives a disk that hangs."""


class LogWriter:
    """Writes packets to a `TokenLog` in the background; `incomplete` says from when on something is missing in it.

    Raises LogError as `TokenLog` does. `keep` and `close` are for one thread.
    """

    def __init__(self, path: str | Path) -> None:
        self.log = TokenLog(path)
        self._queue: queue.Queue[tuple[Packet, bytes, int]] = queue.Queue(QUEUE)
        self._closing = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Packets that are not yet on the disk."""
        return self._queue.qsize() + self.log.waiting

    @property
    def incomplete(self) -> str | None:
        """Why packets of this run are missing in the log; None when none is."""
        return self.log.missing.why or None

    def keep(self, packet: Packet, frame: bytes) -> None:
        """Take a packet for the log; returns at once."""
        try:
            self._queue.put_nowait((packet, frame, time.time_ns()))
        except queue.Full:
            self.log.missing.add([packet], "the disk is too slow")

    def close(self) -> None:
        """Write what waits and close the log; raise IncompleteLogError if packets are missing. Safe to call twice."""
        self._closing.set()
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            raise IncompleteLogError(f"the log {self.log.path} may lack the last packets: its disk does not answer")
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _write(self) -> None:
        try:
            # `closing` is read first: what was kept before it was set is then still taken from the queue.
            while not (self._closing.is_set() and self._queue.empty()):
                with contextlib.suppress(queue.Empty):
                    self.log.append(*self._queue.get(timeout=COMMIT_INTERVAL))
                self.log.flush()
            self.log.close()
        except Exception as error:
            self._failure = error
