"""Standard output that may be read slowly, or not at all: a stop gets through all the same."""

import os
import select
import sys
import threading
import time

PATIENCE = 1.0
"""Seconds for which lines still wait to be taken once the command was asked to stop."""

_CHUNK = min(select.PIPE_BUF, 4096)
"""Bytes that a pipe takes without blocking if it takes any."""

_LOOK = 0.1


class Output:
    """Writes lines to standard output. Waits for their reader, but not for long once `stop` is set."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._until: float | None = None
        self.given_up = False
        """Whether lines were dropped, as nobody took them at the end; further ones are, too."""

    def line(self, text: str) -> None:
        """Write a line. Raises OSError as `print` does, such as BrokenPipeError."""
        try:
            number = sys.stdout.fileno()
        except (OSError, ValueError):  # not a file, as in a notebook
            print(text)
            return
        sys.stdout.flush()
        data = memoryview(f"{text}\n".encode(sys.stdout.encoding or "utf-8", sys.stdout.errors or "strict"))
        while data and not self.given_up:
            if self._is_taken(number):
                data = data[os.write(number, data[:_CHUNK]) :]

    def _is_taken(self, number: int) -> bool:
        """Wait a moment for room; give up where none comes in time."""
        if select.select([], [number], [], _LOOK)[1]:
            return True
        if self._stop.is_set():
            now = time.monotonic()
            self._until = self._until or now + PATIENCE
            self.given_up = now >= self._until
        return False
