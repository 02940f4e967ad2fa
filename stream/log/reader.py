"""Reads a token log, also while it is written and from several threads: packets in the order of time or by seq."""

import math
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

from engine.session import open_decoder
from stream.codec.decode import Motion, StreamDecoder
from stream.errors import IncompleteLogError, LogError
from stream.log.schema import TABLES, check_kind, checksum_ok, clipped, failure, open_to_read
from stream.wire.packets import Packet, PacketError, decode

BLOCK = 500
"""Rows fetched at once. Between two blocks no lock is held, so that a writer's journal never grows behind a reader."""

FOREVER = 1e12
"""Seconds after which no log goes on."""

_FIRST = -(2**63)


class Logged(NamedTuple):
    """A packet of a log, the exact frame it came in, when it came (ns since 1970) and its place in time (ns).

    motion: its joints, where the log is read with `decode`.
    """

    packet: Packet
    frame: bytes
    received: int
    time: int
    motion: Motion | None = None


@dataclass(frozen=True)
class Gap:
    """Packets that a log should have and has not: of one track from `first` to `last`, or of unknown ones (None)."""

    stream: str | None
    track: int | None
    epoch: bytes | None
    first: int | None
    last: int | None
    why: str


def read_log(
    path: str | Path,
    decode: bool = False,
    stream: str | None = None,
    track: int | None = None,
    tokenizer: str | None = None,
) -> Iterator[Logged]:
    """Yield the packets of a token log in the order of time, with their joints if `decode` is set.

        for logged in read_log("tokens.db", decode=True):
            print(logged.packet.stream, logged.packet.track, logged.motion.joints)

    stream, track: only these. tokenizer: what decodes, a name or directory; by default each packet's own, which must be
    a shipped one.

    Raises LogError where there is no such log, TokenizerError where a packet cannot be decoded and IncompleteLogError
    after the last packet if the log lacks some or holds damaged ones.
    """
    with LogReader(path) as log:
        chosen = (
            each
            for each in log.packets()
            if stream in (None, each.packet.stream) and track in (None, each.packet.track)
        )
        yield from with_motion(chosen, tokenizer) if decode else chosen
        log.check()


def with_motion(logged: Iterable[Logged], tokenizer: str | None = None) -> Iterator[Logged]:
    """Yield the packets with their joints. Raises TokenizerError, and LogError for a packet that does not fit its own.

    tokenizer: what decodes, a name or directory; by default each packet's own, which must be a shipped one.
    """
    decoder = StreamDecoder(open_decoder, tokenizer)
    for each in logged:
        try:
            yield each._replace(motion=decoder.decode(each.packet))
        except PacketError as error:
            which = f"packet {each.packet.seq} of {each.packet.stream}/{each.packet.track}"
            raise LogError(f"{which} cannot be decoded: {error}") from error


def place_of(text: str, first: int, flag: str = "--from") -> int:
    """Return the place in time (ns) that a flag means: a date and time, or seconds from `first`. Raises ValueError."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            return clipped(int(datetime.fromisoformat(text).timestamp() * 1e9))
        except (ValueError, OverflowError, OSError) as error:
            raise ValueError(f"{flag} {text}: a time such as 2026-05-01T12:00, or seconds from the start") from error
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{flag} {text}: seconds from the start, 0 or more")
    return clipped(first + int(min(seconds, FOREVER) * 1e9))


class LogReader:
    """Reads a log of version 1 or 2 up to the last commit. Raises LogError if the file cannot be opened or is no log.

    Rows that are damaged, found by their check sum, are left out and named in `damaged`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.damaged: dict[int, str] = {}
        """What is wrong with each damaged row that was met, by id."""
        if not self.path.is_file():
            raise LogError(f"no log {path}: check the path")
        self._lock = threading.Lock()
        try:
            self._database = open_to_read(self.path)
        except sqlite3.Error as error:
            raise failure(self.path, error) from error
        try:
            self._version = check_kind(self._database, self.path)
        except (sqlite3.Error, UnicodeDecodeError, LogError) as error:
            self._database.close()
            raise error if isinstance(error, LogError) else failure(self.path, error) from error
        # Version 1 has neither check sums nor places in time.
        self._time = "time" if self._version > 1 else "wall"
        columns = [self._time if name == "time" else name for name in TABLES["packets"]]
        self._columns = ", ".join(columns) + (", crc" if self._version > 1 else ", NULL")

    def packets(self, since: int | None = None) -> Iterator[Logged]:
        """Yield packets in the order of time, each stream's epochs one after the other.

        since: begin at this place in time (ns since 1970). Raises LogError.
        """
        place, identity = _FIRST if since is None else since, _FIRST
        query = (
            f"SELECT id, {self._columns} FROM packets WHERE ({self._time}, id) > (?, ?)"
            f" ORDER BY {self._time}, id LIMIT {BLOCK}"
        )
        while rows := self._fetch(query, place, identity):
            yield from self._sound(rows)
            place, identity = rows[-1][1 + TABLES["packets"].index("time")], rows[-1][0]

    def frames(self, stream: str, track: int, epoch: bytes, first: int, last: int) -> Iterator[bytes]:
        """Yield the frames of one track with `first` <= seq <= `last` in the order of seq. Raises LogError."""
        query = (
            f"SELECT id, {self._columns} FROM packets"
            f" WHERE stream = ? AND track = ? AND epoch = ? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT {BLOCK}"
        )
        while first <= last and (rows := self._fetch(query, stream, track, epoch, first, last)):
            yield from (logged.frame for logged in self._sound(rows))
            first = rows[-1][1 + TABLES["packets"].index("seq")] + 1

    def epochs(self, stream: str, limit: int) -> list[bytes]:
        """Return the newest `limit` epochs of a stream, oldest first. Raises LogError."""
        runs = "epochs" if self._version > 1 else "packets"
        query = f"SELECT epoch FROM {runs} WHERE stream = ? GROUP BY epoch ORDER BY min(id) DESC LIMIT ?"
        return [bytes(epoch) for (epoch,) in reversed(self._fetch(query, stream, limit))]

    def ends(self, stream: str, epoch: bytes, track: int, limit: int) -> list[tuple[int, int]]:
        """Return (track, last seq) of the lowest `limit` tracks from id `track` on. Raises LogError."""
        # From track to track by the index: grouping would read every row of the stream.
        query = (
            "WITH RECURSIVE tracks (track) AS (SELECT min(track) FROM packets WHERE stream = ?1 AND track >= ?2"
            " UNION ALL SELECT (SELECT min(track) FROM packets WHERE stream = ?1 AND track > tracks.track)"
            " FROM tracks WHERE tracks.track IS NOT NULL)"
            " SELECT track, (SELECT max(seq) FROM packets WHERE stream = ?1 AND track = tracks.track AND epoch = ?3)"
            " AS last FROM tracks WHERE last IS NOT NULL LIMIT ?4"
        )
        return [(int(number), int(last)) for number, last in self._fetch(query, stream, track, epoch, limit)]

    def span(self) -> tuple[int, int, int]:
        """Return how many packets there are, and the place in time of the first and the last (ns). Raises LogError.

        An empty log gives zeros.
        """
        query = f"SELECT count(*), coalesce(min({self._time}), 0), coalesce(max({self._time}), 0) FROM packets"
        count, first, last = self._fetch(query)[0]
        return int(count), int(first), int(last)

    def gaps(self) -> list[Gap]:
        """Return what the log was marked to lack and has not got since. Raises LogError."""
        if self._version == 1:
            return []
        held = (
            "SELECT count(*) FROM packets AS p WHERE p.stream = m.stream"
            " AND p.track = m.track AND p.epoch = m.epoch AND p.seq BETWEEN m.first AND m.last"
        )
        query = f"SELECT m.stream, m.track, m.epoch, m.first, m.last, m.why, ({held}) FROM missing AS m ORDER BY m.id"
        return [
            Gap(*marked) for *marked, there in self._fetch(query) if marked[3] is None or there <= marked[4] - marked[3]
        ]

    def check(self) -> None:
        """Raise IncompleteLogError if packets are missing or damaged rows were met; call it after reading."""
        told = []
        if self.damaged:
            row, fault = next(iter(self.damaged.items()))
            more = f" and {len(self.damaged) - 1} more" if len(self.damaged) > 1 else ""
            told.append(f"row {row} is damaged ({fault}){more}")
        gaps = self.gaps()
        if count := sum(gap.last - gap.first + 1 for gap in gaps if gap.first is not None and gap.last is not None):
            told.append(f"{count} packets are missing")
        told += [gap.why for gap in gaps if gap.first is None]
        if told:
            raise IncompleteLogError(f"the log {self.path} is incomplete: {'; '.join(told)}; the others were given")

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        with self._lock:
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _fetch(self, query: str, *values: int | str | bytes) -> list[Any]:
        try:
            with self._lock:
                return self._database.execute(query, values).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:  # a damaged schema may stand in the error's own text
            raise failure(self.path, error) from error

    def _sound(self, rows: list[Any]) -> Iterator[Logged]:
        for identity, *values in rows:
            if self._version > 1 and not checksum_ok(values):
                self.damaged[identity] = "it is not what was written"
                continue
            received, *_, place, _, frame, _ = values
            try:
                yield Logged(decode(frame), frame, received, place)
            except PacketError as error:
                self.damaged[identity] = str(error)
