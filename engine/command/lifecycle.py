"""How a command ends when it is asked to, by Ctrl-C, SIGTERM or a closed terminal, from its first moment on.

While a command starts, there is nothing to save: it ends at once. Once it runs, the signal sets an event and the
command ends in good order. Further signals change nothing.
"""

import _thread
import os
import signal
import socket
import sys
import threading
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager

from engine.command.extras import explain_missing_packages

SIGNALS = tuple(
    number
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    # A command started with `nohup` is to outlive the terminal.
    if (number := getattr(signal, name, None)) and not (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN)
)

PATIENCE = 1.2
"""Seconds after which a start that hangs in a library is cut off."""


class Abandoned(BaseException):
    """The command was asked to stop while it was starting, or before its work was done."""


_starting = False
_stop: threading.Event | None = None


_code_at_start = 0


def end_at_once(code: int = 0) -> None:
    """From now on end with this exit code on a signal: for the first lines of a command, before its slow imports."""
    global _code_at_start
    _code_at_start = code
    for number in SIGNALS:
        signal.signal(number, _end)
    explain_missing_packages()


def _end(signum: int, frame: types.FrameType | None) -> None:
    os._exit(_code_at_start)


@contextmanager
def abandon_on_signal() -> Iterator[threading.Event]:
    """Let a signal break the main thread off where it is, by `Abandoned`. The event is never set."""

    def on_signal(signum: int, frame: types.FrameType | None) -> None:
        raise Abandoned

    before = {number: signal.signal(number, on_signal) for number in SIGNALS}
    try:
        yield threading.Event()
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if handler is _end else handler)


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """Give an event that signals set, instead of what they did before."""
    global _stop
    stop = threading.Event()

    def on_signal(signum: int, frame: types.FrameType | None) -> None:
        # From a thread of its own: the interrupted code may hold the event's lock.
        _thread.start_new_thread(stop.set, ())
        if _starting:
            raise Abandoned

    before = {number: signal.signal(number, on_signal) for number in SIGNALS}
    outer, _stop = _stop, stop
    try:
        yield stop
    finally:
        _stop = outer
        for number, handler in before.items():
            # A command that is over keeps its exit code, whatever signal comes.
            signal.signal(number, signal.SIG_IGN if handler is _end else handler)


@contextmanager
def starting() -> Iterator[None]:
    """While a command loads models and opens its source: a signal ends it here and now, by `Abandoned`.

    A library that the main thread is in, and that does not return, is cut off after `PATIENCE` seconds. Where no
    exception gets out, as of a `__del__`, the start goes on to its end and is then given up.
    """
    global _starting
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    if _stop is not None and _stop.is_set():
        raise Abandoned
    # Python's handler runs once the library returns; the byte that announces it comes at once.
    ear, mouth = socket.socketpair()
    mouth.setblocking(False)
    before = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_cut_off, args=(ear,), name="cut-off", daemon=True).start()
    swallowed = False

    def unraisable(what: "sys.UnraisableHookArgs") -> None:
        nonlocal swallowed
        if issubclass(what.exc_type, Abandoned):
            swallowed = True
        else:
            hook(what)

    hook, sys.unraisablehook = sys.unraisablehook, unraisable
    _starting = True
    try:
        yield
    finally:
        _starting = False
        sys.unraisablehook = hook
        signal.set_wakeup_fd(before)
        mouth.close()
    if swallowed:
        raise Abandoned


def _cut_off(ear: socket.socket) -> None:
    with ear:
        if not ear.recv(1):
            return
        time.sleep(PATIENCE)
        if _starting:
            os._exit(0)
