"""A cut link between two network namespaces: the producer in one, its readers in the other."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .result import Figure, NotRun, Plan, below, exactly, told
from .rig import Child, holes, logged, producer, subscriber, wait_for

FRESH = 1.0
"""Seconds after the link is back within which a packet younger than this must have come."""


@dataclass(frozen=True)
class Link:
    """Two namespaces with a cable between them."""

    ours: str
    theirs: str
    end: str
    address: str

    def into(self, where: str, command: list[str]) -> list[str]:
        """Return the command line that runs a command in a namespace."""
        return ["ip", "netns", "exec", where, *command]

    def turn(self, state: str) -> float:
        """Turn the link `up` or `down` at the producer's end; return when, in monotonic seconds."""
        _ip("-n", self.ours, "link", "set", self.end, state)
        return time.monotonic()


def run(plan: Plan) -> list[Figure]:
    """Cut the link for 1, 10 and 60 s while a live reader and a logger read.

    A packet younger than a second must reach the live reader within a second of the link's return. The logger, which
    asks again for what it missed, must end with no gap.
    """
    log = plan.scratch / "tokens.db"
    with _link() as link:
        source = link.into(link.ours, producer(link.address, "--demo", "--max-persons", "4", "--insecure"))
        reader = subscriber(link.address, "--insecure")
        live_command = link.into(link.theirs, [*reader, "--max-lag", str(FRESH)])
        log_command = link.into(link.theirs, [*reader, "--log", str(log), "--once"])
        with Child(source) as sender, Child(live_command) as live, Child(log_command) as logger:
            wait_for(lambda: len(live.out) > 8, "packets before the first cut", of=live)
            wait_for(lambda: len(logger.out) > 8, "packets in the log before the first cut", of=logger)
            figures = []
            for seconds in (1,) if plan.quick else (1, 10, 60):
                link.turn("down")
                time.sleep(seconds)
                up = link.turn("up")
                fresh = _fresh(live, up)
                figures.append(below(f"down {seconds} s: fresh packet after", FRESH, fresh, "s"))
                time.sleep(2.0)
            sent = len(logger.out)
            sender.send(signal.SIGTERM)
            codes = [sender.end(), logger.end()]
            live.send(signal.SIGTERM)
            codes.append(live.end())
    kept = logged(log)
    first = min(seq for *_, seq in kept)
    return [
        *figures,
        exactly("exit codes of producer, logger and live reader", [0, 0, 0], codes),
        exactly("gaps in the log at the end", 0, holes(kept)),
        told("packets in the log", f"{len(kept)}, from number {first}; {sent} before the goodbye"),
        told("live reader", live.said.splitlines()[-1]),
    ]


def _fresh(live: Child, since: float) -> float:
    """Return how long after `since` a fresh packet was printed; nan if none is within a minute."""
    until = time.monotonic() + 60
    at = 0
    while time.monotonic() < until:
        for when, line in live.out[at:]:
            at += 1
            latency = json.loads(line)["latency_ms"]
            if when > since and latency is not None and latency < 1000 * FRESH:
                return when - since
        time.sleep(0.005)
    return float("nan")


@contextmanager
def _link() -> Iterator[Link]:
    """Make the namespaces and take them away again. Raises NotRun where that is not allowed."""
    if shutil.which("ip") is None:
        raise NotRun("the command ip (iproute2) is not installed")
    mark = os.getpid() % 0xFFFF
    ours, theirs, end, other = f"drill-a{mark}", f"drill-b{mark}", f"da{mark}", f"db{mark}"
    try:
        try:
            _ip("netns", "add", ours)
            _ip("netns", "add", theirs)
            _ip("link", "add", end, "netns", ours, "type", "veth", "peer", "name", other, "netns", theirs)
        except subprocess.CalledProcessError as error:
            raise NotRun(f"no network namespaces here: {error.stderr.strip()}") from error
        for where, name, address in ((ours, end, "10.203.77.1/24"), (theirs, other, "10.203.77.2/24")):
            _ip("-n", where, "addr", "add", address, "dev", name)
            _ip("-n", where, "link", "set", name, "up")
            _ip("-n", where, "link", "set", "lo", "up")
        yield Link(ours, theirs, end, "tcp://10.203.77.1:5555")
    finally:
        for where in (ours, theirs):
            subprocess.run(["ip", "netns", "del", where], check=False, capture_output=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, encoding="utf-8")
