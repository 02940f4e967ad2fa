"""What waits for one page: the newest few messages of each kind, so that a slow browser never grows a queue."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

NEWEST = 32
"""Messages kept of each kind: seconds of packets, which come at once where a decoder was opened or a gap was filled."""

KINDS = 256
"""Kinds kept (one for each person, and one more); those waiting longest go first."""

BATCH = 256
"""Messages handed over at once."""


class Mailbox:
    """One thread puts messages in, another takes them out. wake: called after each message, from the first thread."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._kinds: OrderedDict[Hashable, deque[bytes]] = OrderedDict()
        self.skipped = 0
        """Messages that made room for newer ones."""

    def put(self, kind: Hashable, message: bytes, newest: int = NEWEST) -> None:
        """Add a message, JSON; at most the `newest` of its kind stay."""
        with self._lock:
            waiting = self._kinds.setdefault(kind, deque())
            waiting.append(message)
            while len(waiting) > newest:
                waiting.popleft()
                self.skipped += 1
            if len(self._kinds) > KINDS:
                self.skipped += len(self._kinds.popitem(last=False)[1])
        self._wake()

    def take(self) -> bytes | None:
        """Return what waits as a JSON object of `skipped` and `messages`, at most `BATCH`; None if nothing waits."""
        with self._lock:
            taken: list[bytes] = []
            while self._kinds and len(taken) < BATCH:
                taken += self._kinds.popitem(last=False)[1]
            if not taken:
                return None
            return b'{"skipped":%d,"messages":[%s]}' % (self.skipped, b",".join(taken))
