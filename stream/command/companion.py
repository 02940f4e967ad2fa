"""A command in a process of its own beside a producer, as its reader: what it does takes no time from the stream."""

import multiprocessing
import signal
import threading
from importlib import import_module
from multiprocessing.connection import wait
from typing import Any, Self

from engine.command.lifecycle import stop_on_signal
from engine.command.messages import LogFormat, say, set_up
from stream.errors import KinetokenError
from stream.wire.hosts import from_here
from stream.wire.security import Security

PATIENCE_S = 5.0
"""Seconds that the process has to end in good order once it is told to."""


class Companion:
    """Runs the command of a module until closed, or until this process is gone, however it ends.

    flags: those of its `Config`, besides the producer at `address`, its stream and its keys, with which it reads. more:
    further arguments of its `main`. The command says how it goes, or `without` and why it is not there; the stream goes
    on either way.
    """

    def __init__(
        self,
        module: str,
        without: str,
        address: str,
        stream: str,
        security: Security,
        log_format: LogFormat,
        *more: object,
        **flags: object,
    ) -> None:
        keyring = security.keyring(address)
        flags |= {
            "connect": from_here(address),
            "stream": stream,
            "keys": str(keyring.folder) if keyring else None,
            "server_key": keyring.identity().public.decode() if keyring else None,
            "insecure": security.insecure,
        }
        # Not forked: threads of the engine run here already.
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(
            target=_serve, args=(module, without, flags, more, log_format), name=module, daemon=True
        )
        self._process.start()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.is_alive()

    def finish(self, seconds: float) -> None:
        """Give it time to end by itself."""
        self._process.join(seconds)

    def close(self) -> None:
        """End it. Idempotent."""
        self._process.terminate()
        self._process.join(PATIENCE_S)
        self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _serve(module: str, without: str, flags: dict[str, Any], more: tuple[Any, ...], log_format: LogFormat) -> None:
    command = import_module(module)  # only in this process: a producer needs nothing of it
    set_up(log_format)
    producer = multiprocessing.parent_process()
    assert producer is not None  # this runs in its child
    with stop_on_signal() as stop:
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # a terminal's Ctrl-C is the producer's, which ends this in its turn
        threading.Thread(target=_stop_after, args=(producer.sentinel, stop), daemon=True).start()
        try:
            command.main(command.Config(**flags), stop, *more)
        except KinetokenError as error:
            say(f"{without}: {error}", without)


def _stop_after(process: int, stop: threading.Event) -> None:
    wait([process])
    stop.set()
