"""Readers with and without keys at both sockets of a producer, lists that change, and guards that die."""

import signal
import time
from collections.abc import Callable
from contextlib import ExitStack

from curve_samples import READERS, SOCKETS, Folders, Matrix, Visitor
from stream.errors import SecurityError

from .result import Figure, Plan, at_least, below, exactly
from .rig import Child, free_address, module, producer, wait_for

NOTICED = 3.0
"""Seconds within which a revoked key is cut off and a dead guard ends its producer."""


def run(plan: Plan) -> list[Figure]:
    """Let listed, unlisted, misled and plain readers come at once; revoke one, allow one; kill each guard."""
    folders = Folders(plan.scratch / "keys")
    flags = ["--demo", "--max-persons", "1", "--keys", str(folders.producer.folder)]
    address = free_address()
    places = dict(zip(SOCKETS, (address, _next(address)), strict=True))
    with Child(producer(address, *flags)) as child:
        wait_for(lambda: "-> stream" in child.said, "the producer", of=child)
        figures = _matrix(places, folders, 5 if plan.quick else 30)
        figures += _changes(places, folders)
        child.send(signal.SIGTERM)
        figures.append(exactly("exit code of the producer", 0, child.end()))
    for which in SOCKETS:
        figures += _death(which, folders, flags)
    return figures


def _next(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + 1}"


def _matrix(places: dict[str, str], folders: Folders, packets: int) -> list[Figure]:
    figures = []
    for (place, reader), seen in Matrix().run(places, folders, packets).cells.items():
        name = f"{place}, {reader}"
        if reader == "listed":
            figures.append(at_least(f"{name}: messages", packets, seen.heard))
            figures.append(exactly(f"{name}: missing between them", 0, seen.holes))
        else:
            figures.append(exactly(f"{name}: messages", 0, seen.heard))
            figures.append(at_least(f"{name}: refused handshakes", 1, seen.failures))
    return figures


def _changes(places: dict[str, str], folders: Folders) -> list[Figure]:
    figures = []
    for place, address in places.items():
        folders.producer.allow(str(folders.unlisted.folder / "unlisted.key"), "guest")
        with Visitor(address, SOCKETS[place], "unlisted", folders) as guest:
            allowed = _until(guest, lambda guest=guest: guest.heard)  # type: ignore[misc]
            folders.producer.revoke("guest")
            cut = _until(guest, lambda guest=guest: guest.failures)  # type: ignore[misc]
            figures += [
                below(f"{place}: allowed while it runs, to the first message", NOTICED, allowed, "s"),
                below(f"{place}: revoked while it reads, to the cut link", NOTICED, cut, "s"),
            ]
    return figures


def _until(visitor: Visitor, condition: Callable[[], object]) -> float:
    begin = time.monotonic()

    def come() -> object:
        visitor.ask()
        visitor.look()
        return condition()

    wait_for(come, "a change of the list to tell")
    return time.monotonic() - begin


def _death(which: str, folders: Folders, flags: list[str]) -> list[Figure]:
    address = free_address()
    places = dict(zip(SOCKETS, (address, _next(address)), strict=True))
    with Child(module("tests.drills.guardless", "--bind", address, *flags)) as child:
        wait_for(lambda: "-> stream" in child.said, "the producer", of=child)
        begin = time.monotonic()
        with ExitStack() as resources:
            visitors = [
                resources.enter_context(Visitor(places[which], SOCKETS[which], reader, folders)) for reader in READERS
            ]

            def knock() -> bool:
                for visitor in visitors:
                    visitor.ask()
                    visitor.look()
                return child.process.poll() is not None

            wait_for(knock, "the end of the producer")
            took = time.monotonic() - begin
            heard = sum(len(visitor.heard) for visitor in visitors)
            let_in = sum(visitor.let_in for visitor in visitors)
        return [
            exactly(f"guard of the {which} socket killed: let in of {len(READERS)}", 0, let_in),
            exactly(f"guard of the {which} socket killed: messages", 0, heard),
            exactly(f"guard of the {which} socket killed: exit code", SecurityError.exit_code, child.end()),
            below(f"guard of the {which} socket killed: time to the end", NOTICED, took, "s"),
            exactly(f"guard of the {which} socket killed: says so", True, "error: the guard of the" in child.said),
        ]
