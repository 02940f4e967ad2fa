"""Hands every message to all open pages, and the newest state to those that have just opened."""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from stream.view.mailbox import NEWEST, Mailbox

STATE = "state"
"""The kind of message that says how the streams are; only the newest one matters."""


class Hub:
    """Between the thread that reads a stream and the one that serves pages."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mailboxes: list[Mailbox] = []
        self._state: bytes | None = None

    @property
    def pages(self) -> int:
        """How many are open."""
        return len(self._mailboxes)

    def post(self, kind: Hashable, message: bytes, newest: int = NEWEST) -> None:
        """Hand a message, JSON, to all pages; at most the `newest` of its kind wait for one that is slow."""
        with self._lock:
            if kind == STATE:
                self._state = message
            for mailbox in self._mailboxes:
                mailbox.put(kind, message, 1 if kind == STATE else newest)

    @contextmanager
    def mailbox(self, wake: Callable[[], None]) -> Iterator[Mailbox]:
        """Give a mailbox that is filled for as long as the context lasts. wake: as in `Mailbox`."""
        mailbox = Mailbox(wake)
        with self._lock:
            self._mailboxes.append(mailbox)
            if self._state is not None:
                mailbox.put(STATE, self._state, 1)
        try:
            yield mailbox
        finally:
            with self._lock:
                self._mailboxes.remove(mailbox)
