"""Hands the producer's own joints and pictures on to the pages, in a thread of its own, while any page is open."""

import threading

from stream.errors import KinetokenError
from stream.subscribe.beside import BesideReader
from stream.view.hub import Hub
from stream.view.messages import joints_json, picture_json
from stream.wire.beside import JointsBeside
from stream.wire.security import Security

POLL_S = 0.1
"""Seconds between two looks at whether pages are open."""

PICTURES = 4
"""Pictures that wait for a slow page at most."""


class BesideRelay:
    """Reads until closed. Arguments as for `Live`, and raises as `BesideReader` does."""

    def __init__(self, connect: str, stream: str | None, security: Security, hub: Hub) -> None:
        self._hub = hub
        self._reader = BesideReader(connect, stream, security)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beside", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading. Idempotent."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with self._reader as reader:
            while not self._stop.is_set():
                reader.wanted = self._hub.pages > 0
                try:
                    message = reader.poll(POLL_S)
                except KinetokenError:  # refused: so are the packets, whose reader says it
                    return
                if isinstance(message, JointsBeside):
                    self._hub.post(("joints", message.stream), joints_json(message))
                elif message is not None:
                    self._hub.post(("picture", message.stream), picture_json(message), PICTURES)
