"""Readers that come and go at random times."""

import bisect
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from stream.client import TokenStream
from stream.wire.packets import Packet

from .result import Figure, Plan, exactly, told
from .rig import PATIENCE, Child, Key, disorder, duplicates, free_address, holes, producer, wait_for

AT_ONCE = 8
AWAY, HEARING = (0.0, 0.5), (0.1, 1.0)
"""Seconds that a reader is away, and stays."""

MARGIN = 0.1
"""Seconds before it leaves within which a packet may still be under way."""


@dataclass
class Guest:
    """A reader that comes and goes: from when to when it counts, what it got, and its waits for a first message."""

    begin: float = 0.0
    end: float = 0.0
    heard: list[Key] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    gaps: int = 0


def run(plan: Plan) -> list[Figure]:
    """Join a running producer of 16 people again and again at random times, eight readers at once.

    Each reader stays for a moment, leaves, and when it comes back says what it has. All that another reader, which
    is there all the time, hears from a reader's first join to its last leave must have come to that one too, once
    and in order: nothing may be lost while it was away or between what it asks for and what it hears live.
    """
    joins = 16 if plan.quick else 1000
    chance = random.Random(5)
    address = free_address()
    truth: list[tuple[float, Key]] = []
    over = threading.Event()
    with Child(producer(address, "--demo", "--max-persons", "16")) as source:
        witness = threading.Thread(target=_witness, args=(address, truth, over))
        witness.start()
        try:
            wait_for(lambda: len(truth) > 100, "packets of the producer", of=source)
            plans = [
                [(chance.uniform(*AWAY), chance.uniform(*HEARING)) for _ in range(joins // AT_ONCE)]
                for _ in range(AT_ONCE)
            ]
            with ThreadPoolExecutor(AT_ONCE) as pool:
                guests = list(pool.map(lambda times: _guest(address, times), plans))
        finally:
            over.set()
            witness.join()
    times = [when for when, _ in truth]
    missed = 0
    for guest in guests:
        span = slice(bisect.bisect_left(times, guest.begin), bisect.bisect_left(times, guest.end - MARGIN))
        missed += len({number for _, number in truth[span]} - set(guest.heard))
    waits = [wait for guest in guests for wait in guest.waits]
    return [
        exactly("joins", joins, len(waits)),
        told("packets heard by all", str(sum(len(guest.heard) for guest in guests))),
        exactly("missed, of what was sent from the first join to the end", 0, missed),
        exactly("gaps", 0, sum(holes(guest.heard) + guest.gaps for guest in guests)),
        exactly("duplicates", 0, sum(duplicates(guest.heard) for guest in guests)),
        exactly("out of order", 0, sum(disorder(guest.heard) for guest in guests)),
        told("first message after a join", f"p50 {np.median(waits):.3f} s, max {max(waits):.3f} s"),
    ]


def _witness(address: str, truth: list[tuple[float, Key]], over: threading.Event) -> None:
    with TokenStream(address) as stream:
        while not over.is_set():
            heard = stream.poll(0.1)
            if heard and isinstance(heard.message, Packet):
                truth.append((heard.monotonic / 1e9, _key(heard.message)))


def _guest(address: str, times: list[tuple[float, float]]) -> Guest:
    guest = Guest()
    has: dict[tuple[str, int, bytes], int] = {}
    for away, stay in times:
        time.sleep(away)
        began = time.monotonic()
        first: float | None = None
        with TokenStream(address, since=has) as stream:
            while first is None or time.monotonic() < first + stay:
                heard = stream.poll(0.1)
                if heard is None:
                    if time.monotonic() > began + PATIENCE:
                        raise TimeoutError("a reader that joined heard nothing")
                    continue
                first = first or time.monotonic()
                guest.begin = guest.begin or first
                if isinstance(packet := heard.message, Packet):
                    guest.heard.append(_key(packet))
                    has[packet.stream, packet.track, packet.epoch] = packet.seq
            guest.end = time.monotonic()
            guest.gaps += stream.total.gaps
        guest.waits.append(first - began)
    return guest


def _key(packet: Packet) -> Key:
    return packet.stream, packet.track, packet.epoch.hex(), packet.seq
