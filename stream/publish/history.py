"""What a producer has published lately, kept in memory for readers that missed some of it."""

import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from itertools import islice

from stream.wire.packets import Packet
from stream.wire.recent import recall

SECONDS = 600.0
"""How long packets are kept, unless asked otherwise."""

BYTES = 64 * 1024 * 1024
"""Bytes of frames that are kept at most, the newest ones."""

TRACKS = 1000
"""Tracks that are remembered, those published most recently."""

BACK = 5000
"""Packets by which a history can tell how things were: readers ask within moments."""


@dataclass(slots=True)
class _Track:
    first: int = -1
    last: int = -1
    reset: int = 0
    frames: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Contents:
    """What a history holds. packet: the newest one, None before the first. span: seconds since the oldest was added."""

    packet: Packet | None
    tracks: int
    packets: int
    span: float


class History:
    """The newest frames of one stream under one epoch. One thread adds, any may read; nobody waits for long.

    seconds: how long a frame is kept; max_bytes: how much all of them may take. The oldest go first.
    """

    def __init__(self, stream: str, epoch: bytes, seconds: float = SECONDS, max_bytes: int = BYTES) -> None:
        self.stream, self.epoch = stream, epoch
        self.started = time.monotonic()
        self._seconds, self._max_bytes = seconds, max_bytes
        self._lock = threading.Lock()
        self._tracks: OrderedDict[int, _Track] = OrderedDict()
        self._order: deque[tuple[float, int, int, int]] = deque()  # time, track, seq, size
        self._bytes = 0
        self._newest: Packet | None = None
        self._added = 0

    def add(self, packet: Packet, frame: bytes) -> None:
        """Keep a packet's frame, and let go of what is too old or too much."""
        now = time.monotonic()
        with self._lock:
            track = recall(self._tracks, packet.track, _Track, TRACKS)
            track.last, self._newest = packet.seq, packet
            if not track.frames:
                track.first = packet.seq
            if packet.reset:
                track.reset = packet.seq
            track.frames[packet.seq] = frame
            self._order.append((now, packet.track, packet.seq, len(frame)))
            self._bytes += len(frame)
            self._added += 1
            while self._order and (self._bytes > self._max_bytes or self._order[0][0] < now - self._seconds):
                _, number, seq, size = self._order.popleft()
                self._bytes -= size
                if (old := self._tracks.get(number)) and old.frames.pop(seq, None):
                    old.first = seq + 1

    def contents(self) -> Contents:
        """Return what is held now."""
        with self._lock:
            span = time.monotonic() - self._order[0][0] if self._order else 0.0
            return Contents(self._newest, len(self._tracks), len(self._order), span)

    def tracks(self, first: int, limit: int, at: int | None = None) -> list[tuple[int, int, int]]:
        """Return (track, last seq, seq of the last reset) of the lowest `limit` tracks from id `first` on.

        at: tell the last seq as it was after so many packets; at most `BACK` packets ago.
        """
        with self._lock:
            found = {number: (track.last, track.reset) for number, track in self._tracks.items() if number >= first}
            back = min(0 if at is None else self._added - at, BACK)
            for _, number, seq, _ in islice(reversed(self._order), max(0, back)):
                if number in found:
                    found[number] = (seq - 1, found[number][1])
        told = sorted((number, last, reset) for number, (last, reset) in found.items() if last >= 0)
        return told[:limit]

    def last(self, track: int) -> int | None:
        """Return the seq of a track's newest packet; None if the track is unknown or long forgotten."""
        with self._lock:
            return self._tracks[track].last if track in self._tracks else None

    def frames(self, track: int, first: int, last: int, limit: int) -> list[tuple[int, bytes]]:
        """Return (seq, frame) of the first `limit` packets that are held of a track from seq `first` to `last`."""
        with self._lock:
            if (there := self._tracks.get(track)) is None:
                return []
            first, last = max(first, there.first), min(last, there.last)
            # What is replayed from a log may have holes, and far wider ones than there are packets.
            sparse = last - first >= 2 * len(there.frames)
            among = sorted(seq for seq in there.frames if first <= seq <= last) if sparse else range(first, last + 1)
            return list(islice(((seq, there.frames[seq]) for seq in among if seq in there.frames), limit))
