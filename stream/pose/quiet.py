"""Keeps the log lines that MediaPipe's C++ code writes to stderr away from the user's terminal."""

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2
_lock = threading.Lock()

_NOISE = re.compile(
    rb"[IW]\d{4} \d\d:\d\d.*\.cc:\d+\]"
    rb"|WARNING: (Logging before InitGoogle|All log messages before absl::InitializeLog|Read-only tensor)"
    rb"|INFO: (Created TensorFlow|Initialized TensorFlow)"
)


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what reaches stderr meanwhile and let it through at the end, less MediaPipe's log lines.

    The code knows no setting for its information and warnings: its lines have to be sorted out. Errors and
    whatever other threads write come through, late by as long as the block takes. One block at a time.
    """
    with _lock, tempfile.TemporaryFile() as held:
        terminal = os.dup(_STDERR)
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(terminal, _STDERR)
            held.seek(0)
            rest = b"".join(line for line in held if not _NOISE.match(line))
            if rest:
                os.write(terminal, rest)
            os.close(terminal)
