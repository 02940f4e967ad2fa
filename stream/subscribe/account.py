"""What became of the packets: counted, and what was lost for good by its numbers."""

from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from stream.wire.recent import recall

STREAMS = 256
"""How many streams are remembered, the most recent ones."""

RANGES = 10_000
"""Ranges of lost packets that are remembered one by one, the first ones."""

Key = tuple[str, int, bytes]
"""Stream, track and epoch: what sequence numbers count in."""


@dataclass(slots=True)
class Counters:
    """What became of the packets.

    received: valid and in order, handed to the reader. gaps: lost, that is skipped and not come since.
    duplicates: heard before. late: came after a later one of their track. invalid: not of the wire format;
    frames of unknown origin count in the total only. repaired: those among the received that had to be asked for
    again. stale: older than the reader's `max_lag`, left out. Gaps, duplicates and late ones are exact within the last
    1024 packets of a track (see `stream.subscribe.sequence`). Duplicate, late, invalid and stale packets are not
    handed on.
    """

    received: int = 0
    gaps: int = 0
    duplicates: int = 0
    late: int = 0
    invalid: int = 0
    repaired: int = 0
    stale: int = 0

    def __str__(self) -> str:
        told = (
            f"received {self.received}, gaps {self.gaps}, duplicates {self.duplicates}, "
            f"late {self.late}, invalid {self.invalid}"
        )
        more = {"repaired": self.repaired, "stale": self.stale}
        return told + "".join(f", {name} {count}" for name, count in more.items() if count)


class Lost(NamedTuple):
    """Packets of one track, from seq `first` to `last`, that were published and can no longer be had."""

    stream: str
    track: int
    epoch: bytes
    first: int
    last: int


@dataclass(slots=True)
class StreamState:
    """What is known of one stream: its producer's epoch, restarts (changes of epoch), goodbye heard."""

    epoch: bytes = b""
    restarts: int = 0
    ended: bool = False
    counters: Counters = field(default_factory=Counters)


class Account:
    """Counts in total and by stream, and keeps the ranges that were lost."""

    def __init__(self) -> None:
        self.total = Counters()
        self.streams: OrderedDict[str, StreamState] = OrderedDict()
        self._lost: dict[Key, list[tuple[int, int]]] = {}
        self._ranges = 0

    def stream(self, name: str) -> StreamState:
        """Return what is known of a stream."""
        return recall(self.streams, name, StreamState, STREAMS)

    def count(self, stream: str, counter: str, change: int = 1) -> None:
        """Add to a counter of a stream and to that of the total."""
        for counters in (self.total, self.stream(stream).counters):
            setattr(counters, counter, getattr(counters, counter) + change)

    def lose(self, key: Key, first: int, last: int) -> None:
        """Count packets as lost, and note their numbers."""
        self.count(key[0], "gaps", last - first + 1)
        ranges = self._lost.get(key)
        if ranges and ranges[-1][1] == first - 1:
            ranges[-1] = (ranges[-1][0], last)
        elif self._ranges < RANGES:
            self._lost.setdefault(key, []).append((first, last))
            self._ranges += 1

    def find(self, key: Key, seq: int) -> None:
        """Count a packet as not lost after all."""
        self.count(key[0], "gaps", -1)
        ranges = self._lost.get(key, [])
        place = bisect_left(ranges, (seq + 1, 0)) - 1
        if place >= 0 and ranges[place][0] <= seq <= ranges[place][1]:
            first, last = ranges[place]
            rest = [(a, b) for a, b in ((first, seq - 1), (seq + 1, last)) if a <= b]
            ranges[place : place + 1] = rest
            self._ranges += len(rest) - 1

    @property
    def lost(self) -> list[Lost]:
        """The ranges of packets that were lost, by track."""
        return [Lost(*key, first, last) for key, ranges in self._lost.items() for first, last in ranges]
