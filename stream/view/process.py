"""The live page in a process of its own beside a producer: what it decodes and serves takes no time from the stream."""

import multiprocessing
import threading
from multiprocessing.connection import wait
from typing import Any, Self

from engine.command.lifecycle import stop_on_signal
from engine.command.messages import LogFormat, say, set_up
from stream.errors import KinetokenError
from stream.wire.hosts import from_here
from stream.wire.security import Security

PATIENCE_S = 5.0
"""Seconds that the page has to end in good order."""


class PageProcess:
    """Serves the page of the producer at `address` until closed, or until this process is gone, however it ends.

    The page says where it is, or why there is none; the stream goes on either way. security: the producer's, whose
    keys the page reads with.
    """

    def __init__(self, address: str, stream: str, security: Security, log_format: LogFormat) -> None:
        keyring = security.keyring(address)
        flags = {
            "connect": from_here(address),
            "stream": stream,
            "keys": str(keyring.folder) if keyring else None,
            "server_key": keyring.identity().public.decode() if keyring else None,
            "insecure": security.insecure,
        }
        # Not forked: threads of the engine run here already.
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_serve, args=(flags, log_format), name="view", daemon=True)
        self._process.start()

    def close(self) -> None:
        """End the page. Idempotent."""
        self._process.terminate()
        self._process.join(PATIENCE_S)
        self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _serve(flags: dict[str, Any], log_format: LogFormat) -> None:
    from stream.view.__main__ import Config, main  # only in this process: a producer needs no web server

    set_up(log_format)
    producer = multiprocessing.parent_process()
    assert producer is not None  # this runs in its child
    with stop_on_signal() as stop:
        threading.Thread(target=_stop_after, args=(producer.sentinel, stop), daemon=True).start()
        try:
            main(Config(**flags), stop)
        except KinetokenError as error:
            say(f"no live page: {error}", "no page")


def _stop_after(process: int, stop: threading.Event) -> None:
    wait([process])
    stop.set()
