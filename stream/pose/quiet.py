"""Keeps what native libraries write to standard error, such as MediaPipe's log, away from the user's terminal.

File descriptor 2 becomes a pipe; Python's own messages go on to where it led before. A helper process, which runs this
file, holds the last of what arrives in the pipe, and shows it only where the process crashes: it outlives it. That
does not depend on what the lines look like, and takes no part in what the process does.
"""

import faulthandler
import os
import selectors
import signal
import subprocess
import sys
import threading
from contextlib import suppress

_STDERR = 2

HELD_BYTES = 1 << 16
"""The most that is shown of what was written before a crash, its end."""

_lock = threading.Lock()
_keepers: list[subprocess.Popen[bytes]] = []  # one that is collected would be called a forgotten process


def divert_native_stderr() -> None:
    """From now on only Python's messages, and crashes with what was written before them, reach standard error.

    For the rest of the process; calling it again changes nothing. Where `sys.stderr` is not file descriptor 2, as in a
    notebook or under pytest, somebody else is in charge and nothing is done.
    """
    with _lock:
        if _leads_to_descriptor_2():
            _divert()


def _divert() -> None:
    real = os.dup(_STDERR)
    native = faults = None
    try:
        native, faults = os.pipe(), os.pipe()
        _keepers.append(_start_keeper(native[0], faults[0], real))
    except OSError:  # no processes or files left: then its log is seen
        _close(real, *(native or ()), *(faults or ()))
        return
    before = sys.stderr
    before.flush()
    sys.stderr = open(  # noqa: SIM115 -- for good
        real, "w", buffering=1, encoding=before.encoding, errors="backslashreplace", closefd=False
    )
    os.dup2(native[1], _STDERR)
    # With process 1 of a container its helpers are killed before they can say anything.
    faulthandler.enable(real if os.getpid() == 1 else faults[1])
    _close(*native, faults[0])


def _leads_to_descriptor_2() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.fileno() == _STDERR
    except (OSError, ValueError):  # of a notebook; closed
        return False


def _start_keeper(native: int, faults: int, real: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(faults)],
        stdin=native,
        stdout=subprocess.DEVNULL,
        stderr=real,
        pass_fds=[faults],
        cwd="/",
        start_new_session=True,  # Ctrl-C is not for it
    )


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _keep(native: int, faults: int) -> None:
    """Read both pipes to their ends; from the first of `faults` on, show what `native` brought last and what comes.

    At once: systemd kills what is left of a service whose main process has ended.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with its process
    held, crashed = b"", False
    with selectors.DefaultSelector() as selector, suppress(OSError):
        selector.register(native, selectors.EVENT_READ)
        selector.register(faults, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in sorted(selector.select(), key=lambda ready: ready[0].fd == faults):
                read = os.read(key.fd, HELD_BYTES)
                if not read:
                    selector.unregister(key.fd)
                held = (held + read)[-HELD_BYTES:]
                crashed |= key.fd == faults and read != b""
                while crashed and held:
                    held = held[os.write(_STDERR, held) :]


if __name__ == "__main__":
    _keep(0, int(sys.argv[1]))
