"""A producer in a process of its own, on a free port of this machine."""

import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Self

PATIENCE = 10.0
"""Seconds that a producer has to end in good order."""


class ProducerProcess:
    """Runs `python -m stream.producer` with these flags and `--bind address`; ended, at the latest, on leaving.

    stderr: as in subprocess.Popen. The producer waits for its first subscriber, so that a reader misses nothing.
    """

    def __init__(self, flags: Sequence[str], stderr: Any = None) -> None:
        self.address = f"tcp://127.0.0.1:{_free_port()}"
        command = [sys.executable, "-m", "stream.producer", *flags, "--bind", self.address, "--wait", "60"]
        self.process = subprocess.Popen(command, stderr=stderr, encoding="utf-8", errors="replace")

    def end(self) -> int:
        """Ask it to stop, wait, return its exit code. One that does not stop in `PATIENCE` seconds is killed."""
        self.process.terminate()
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def finish(self, timeout: float) -> int:
        """Give it `timeout` seconds to end by itself, then ask it to; return its exit code."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return self.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
