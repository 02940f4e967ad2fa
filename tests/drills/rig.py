"""Processes, ports and waiting for the drills: real ones, and none of them left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self

from stream.log.reader import LogReader

ROOT = Path(__file__).resolve().parents[2]

PATIENCE = 60.0
"""Seconds after which a drill gives up waiting for what must come."""

Key = tuple[str, int, str, int]
"""(stream, track, epoch in hex, seq) of a packet."""


class Child:
    """A process in a group of its own, whose lines are kept as they come, each with the second of its coming.

    Only whole lines count: what a killed process had half written was never said.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.out: list[tuple[float, str]] = []
        self.err: list[tuple[float, str]] = []
        self.started = time.monotonic()
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=pipe, stderr=pipe, encoding="utf-8", start_new_session=True
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        pairs = [(self.process.stdout, self.out), (self.process.stderr, self.err)]
        self._threads = [threading.Thread(target=_keep, args=pair, daemon=True) for pair in pairs]
        for thread in self._threads:
            thread.start()

    def kill(self) -> None:
        """End it as a crash would, with all that it started, and read what it had still said."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.end()

    def send(self, number: int) -> None:
        """Send it a signal, and what it started, as a terminal would."""
        os.killpg(self.process.pid, number)

    def end(self, timeout: float = PATIENCE) -> int:
        """Wait until it is over and all that it said is read; return its exit code, minus the signal that ended it."""
        code = self.process.wait(timeout)
        for thread in self._threads:
            thread.join(timeout)
        return code

    @property
    def orphans(self) -> bool:
        """Whether anything that it started is still there."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    @property
    def said(self) -> str:
        """All that it wrote to standard error."""
        return "\n".join(line for _, line in self.err)

    def packets(self) -> list[Key]:
        """The packets that a subscriber with --json has printed."""
        return [key_of(line) for _, line in list(self.out)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()


def _keep(pipe: IO[str], lines: list[tuple[float, str]]) -> None:
    for line in pipe:
        if line.endswith("\n"):
            lines.append((time.monotonic(), line.rstrip("\n")))


def key_of(line: str) -> Key:
    """Return which packet a JSON line is about."""
    fields = json.loads(line)
    return fields["stream"], fields["track"], fields["epoch"], fields["seq"]


def module(name: str, *flags: str) -> list[str]:
    """Return the command line of a module with these flags."""
    return [sys.executable, "-m", name, *flags]


def producer(address: str, *flags: str) -> list[str]:
    """Return the command line of a producer."""
    return module("stream.producer", "--bind", address, *flags)


def subscriber(address: str, *flags: str) -> list[str]:
    """Return the command line of a reader that prints JSON and waits for ever."""
    return module("stream.subscriber", "--connect", address, "--json", "--timeout", "0", *flags)


def free_address() -> str:
    """Return an address of this machine whose port, and the one above it, are free."""
    while True:
        with socket.socket() as probe, socket.socket() as above:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            with suppress(OSError):
                above.bind(("127.0.0.1", port + 1))
                return f"tcp://127.0.0.1:{port}"


def wait_for(condition: Callable[[], object], what: str, timeout: float = PATIENCE, of: Child | None = None) -> None:
    """Wait until the condition holds; not any more once the process that it is about has ended.

    Raises TimeoutError that says what was waited for, and what that process said.
    """
    until = time.monotonic() + timeout
    while not condition():
        ended = of is not None and of.process.poll() is not None
        if ended or time.monotonic() > until:
            said = of.said[-300:] if of else ""
            raise TimeoutError(f"waited in vain for {what}{f': {said}' if said else ''}")
        time.sleep(0.005)


def logged(path: Path) -> list[Key]:
    """Return the packets of a log in its order. Raises ValueError if one of them is damaged."""
    with LogReader(path) as log:
        keys = [(p.stream, p.track, p.epoch.hex(), p.seq) for p, *_ in log.packets()]
        if log.damaged:
            raise ValueError(f"damaged rows in {path}: {log.damaged}")
    return keys


def duplicates(keys: Sequence[Key]) -> int:
    """Return how many packets are there more than once."""
    return len(keys) - len(set(keys))


def disorder(keys: Sequence[Key]) -> int:
    """Return how often a packet comes after a later one of its track."""
    last: dict[Any, int] = {}
    wrong = 0
    for *track, seq in keys:
        wrong += seq < last.get(tuple(track), -1)
        last[tuple(track)] = seq
    return wrong


def holes(keys: Sequence[Key]) -> int:
    """Return how many packets are missing between the first and the last of every track."""
    seqs: dict[Any, set[int]] = {}
    for *track, seq in keys:
        seqs.setdefault(tuple(track), set()).add(seq)
    return sum(max(each) - min(each) + 1 - len(each) for each in seqs.values())


@contextmanager
def in_memory() -> Iterator[Path]:
    """Give a folder in memory where the machine has one, for files that need not outlive a power cut."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@contextmanager
def killed_at_end(children: list[Child]) -> Iterator[list[Child]]:
    """Give a list of processes that are killed on leaving; add to it what you start."""
    try:
        yield children
    finally:
        for child in children:
            child.kill()
