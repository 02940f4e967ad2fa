"""How a command ends when it is asked to, by Ctrl-C or SIGTERM, from its first moment on.

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

SIGNALS = (signal.SIGINT, signal.SIGTERM)

PATIENCE = 1.2
"""Seconds after which a start that hangs in a library is cut off."""


class Abandoned(BaseException):
    """The command was asked to stop while it was starting."""


_starting = False
_stop: threading.Event | None = None


def end_at_once() -> None:
    """From now on end with exit code 0 on a signal: for the first lines of a command, before its slow imports."""
    for number in SIGNALS:
        signal.signal(number, _end)


def _end(signum: int, frame: types.FrameType | None) -> None:
    os._exit(0)


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
            # A command that is over keeps its exit code, whoever asks it once more to end.
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
