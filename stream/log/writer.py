"""The token log: one SQLite row a packet, exact bytes kept, on the disk before it is acknowledged."""

import sqlite3
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

from stream.errors import IncompleteLogError, LogError
from stream.log.repair import Repair, mend
from stream.log.schema import (
    VERSION,
    Value,
    check_kind,
    clipped,
    failure,
    insertion,
    is_busy,
    prepare,
    sync_folder,
    with_sum,
)
from stream.wire.packets import Packet

COMMIT_INTERVAL = 0.1
"""Seconds for which a packet may wait for its commit."""

BATCH = 1000
"""Packets that may wait: with more, a commit is due at once."""

HELD = 10_000
"""Packets that wait while another process holds the file, some 6 MB; more are given up."""

BUSY = 0.1
"""Seconds that a statement waits for another process: no longer, as whoever calls has other things to do."""

RETRY = 0.5
"""Seconds between two attempts to commit while another process holds the file."""

PATIENCE = 5.0
"""Seconds that opening waits for another process."""

LAST = 0.5
"""Seconds that closing waits for another process."""

LOCKED = "another process holds the file"

GONE = "it can no longer be had from the producer"
"""Why a packet is missing that is no fault of the log."""

RANGES = 10_000
"""Ranges of missing packets that are remembered one by one until they can be written down."""

Track = tuple[str, int, bytes]
"""Stream, track and epoch: what sequence numbers count in."""


class TokenLog:
    """Appends packets to a log, new or begun before. A packet already in it is not stored twice.

    A packet is acknowledged, that is returned by `flush`, once it is committed and on the disk: neither the end of
    the process nor a power cut loses it then. `repair` says what was saved if the file was damaged. While another
    process holds the file, packets wait. When a commit fails, the disk being full, its packets are given up and noted
    as missing, in the log itself as soon as it can be written again; appending goes on. `close` raises
    IncompleteLogError then. Raises LogError if the file cannot be opened, is no token log or of an earlier version.
    `append` and `flush` are for one thread.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()  # a name such as :memory: is a file like any other
        self.missing = Missing()
        self.stored = 0
        self.fault: str | None = None
        """Why the last commit failed; None when it did not."""
        self._waiting: list[tuple[Packet, bytes, int]] = []
        self._lost: list[tuple[Value, ...]] = []
        self._commit_due = 0.0
        self._busy = False
        if not self.path.parent.is_dir():
            raise LogError(f"no folder {self.path.parent} to keep the log in: create it or choose another")
        if self.path.is_dir():
            raise LogError(f"{self.path} is a folder: name a file in it to keep the log in")
        self.repair: Repair | None = mend(self.path)
        try:
            self._database = sqlite3.connect(self.path, BUSY, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise failure(self.path, error) from error
        try:
            self._open()
        except BaseException as error:
            self._database.close()
            raise failure(self.path, error) if isinstance(error, (sqlite3.Error, OSError)) else error from None

    @property
    def waiting(self) -> int:
        """Packets appended and not yet committed."""
        return len(self._waiting)

    def append(self, packet: Packet, frame: bytes, received: int) -> None:
        """Take a packet, the frame it came in and the time of receipt (ns since 1970); `flush` stores it."""
        if not self._waiting:
            self._commit_due = time.monotonic() + COMMIT_INTERVAL
        self._waiting.append((packet, frame, received))

    def flush(self, now: bool = False) -> list[Packet]:
        """Commit what waits, if it has waited long enough or `now`; return the packets that are on the disk now."""
        full = len(self._waiting) >= BATCH and not self._busy
        due = now or time.monotonic() >= self._commit_due or full
        if not self._waiting or not due:
            return []
        batch, self._waiting = self._waiting, []
        packets = [packet for packet, _, _ in batch]
        try:
            self._commit(batch)
        except sqlite3.Error as error:
            self.fault = LOCKED if is_busy(error) else str(error)
            self._busy = is_busy(error) and len(batch) < HELD
            if self._busy:
                self._waiting, self._commit_due = batch, time.monotonic() + RETRY
            else:
                self.missing.add(packets, self.fault)
            return []
        self.fault, self._busy = None, False
        self.stored += len(packets)
        return packets

    def lose(self, track: Track, first: int, last: int) -> None:
        """Note that packets of a track can no longer be had; with the next commit it stands in the log."""
        self._lost.append(with_sum(time.time_ns(), *track, first, last, GONE))

    def last_seqs(self) -> dict[Track, int]:
        """Return for each track of each stream's newest epoch the seq up to which nothing can be had that is lacking.

        Raises LogError.
        """
        newest = "SELECT stream, epoch FROM epochs WHERE id IN (SELECT max(id) FROM epochs GROUP BY stream)"
        spans = (
            "SELECT stream, track, epoch, min(seq), max(seq), count(*) FROM packets"
            f" WHERE (stream, epoch) IN ({newest}) GROUP BY stream, track, epoch"
        )
        try:
            ends: dict[Track, int] = {}
            for stream, track, epoch, first, last, count in self._database.execute(spans).fetchall():
                key = (stream, track, epoch)
                ends[key] = last if count == last - first + 1 else self._end(key, last)
            return ends
        except sqlite3.Error as error:
            raise failure(self.path, error) from error

    def _end(self, key: Track, last: int) -> int:
        """Return the seq before the first hole that is not known to stay one."""
        one = "stream = ? AND track = ? AND epoch = ?"
        holes = (
            "SELECT seq + 1, next - 1 FROM (SELECT seq, lead(seq) OVER (ORDER BY seq) AS next FROM packets"
            f" WHERE {one}) WHERE next > seq + 1 ORDER BY seq"
        )
        known = f"SELECT 1 FROM missing WHERE {one} AND why = ? AND first <= ? AND last >= ?"
        for begin, end in self._database.execute(holes, key).fetchall():
            if not self._database.execute(known, (*key, GONE, begin, end)).fetchone():
                return int(begin) - 1
        return last

    def close(self) -> list[Packet]:
        """Commit what waits, return it as `flush` does and close the file. Safe to call twice.

        Raises IncompleteLogError if packets are missing, after closing.
        """
        try:
            kept = self.flush(now=True)
            deadline = time.monotonic() + LAST
            while self._busy and time.monotonic() < deadline:
                kept += self.flush(now=True)
            if self._busy:
                self.missing.add((packet for packet, _, _ in self._waiting), LOCKED)
                self._waiting, self._busy = [], False
            self._note_missing()
        finally:
            with suppress(sqlite3.Error):
                # Unless somebody is reading, a log at rest is one file, also where nothing can be written beside it.
                self._database.execute("PRAGMA busy_timeout = 0")
                self._database.execute("PRAGMA journal_mode = DELETE")
            with suppress(sqlite3.Error):
                self._database.close()
        if self.missing.count:
            raise IncompleteLogError(
                f"the log {self.path} lacks {self.missing.count} packets ({self.missing.why}): "
                f"{self.missing.told}; the stream itself went on"
            )
        return kept

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _open(self) -> None:
        """Make or check the tables. Another process that looks at the file, or changes its mode, is waited for."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self._prepare()
            except sqlite3.Error as error:
                if not is_busy(error) or time.monotonic() > deadline:
                    raise
            time.sleep(BUSY)

    def _prepare(self) -> None:
        fresh = not self._database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if not fresh and (version := check_kind(self._database, self.path)) != VERSION:
            raise LogError(
                f"{self.path} is a log of version {version}, which can be read, replayed and exported "
                "but not continued: use a new file"
            )
        prepare(self._database)
        if fresh:
            sync_folder(self.path)

    def _commit(self, batch: list[tuple[Packet, bytes, int]]) -> None:
        # One short transaction, so that others can write to the file between two of ours.
        self._database.execute("BEGIN IMMEDIATE")
        try:
            for packet, frame, received in batch:
                self._store(packet, frame, received)
            ranges = self.missing.unwritten()
            self._database.executemany(insertion("missing"), [*ranges, *self._lost])
            self._database.execute("COMMIT")
        except sqlite3.Error:
            with suppress(sqlite3.Error):  # some failures have rolled back already
                self._database.execute("ROLLBACK")
            raise
        self.missing.written(len(ranges))
        self._lost.clear()

    def _store(self, packet: Packet, frame: bytes, received: int) -> None:
        p = packet
        place = clipped(p.t + self._offset(p))
        row = with_sum(received, p.stream, p.track, p.epoch, p.seq, p.frame, p.t, p.wall, place, p.tokenizer, frame)
        self._database.execute(insertion("packets"), row)

    def _offset(self, packet: Packet) -> int:
        """Return what to add to `t` for a place in time: that of the epoch's first packet that came.

        It comes from the wall clock, but a later epoch never lies before the stream's packets of earlier ones: a
        clock that was set back between two runs does not mix them.
        """
        key = (packet.stream, packet.epoch)
        known = self._database.execute("SELECT offset FROM epochs WHERE stream = ? AND epoch = ?", key).fetchone()
        if known:
            return int(known[0])
        # The plus keeps SQLite from gathering the whole stream: the newest packet of any is near.
        newest = "SELECT time FROM packets WHERE +stream = ? ORDER BY time DESC LIMIT 1"
        last = self._database.execute(newest, key[:1]).fetchone()
        begin = max(packet.wall, last[0] + 1) if last else packet.wall
        offset = clipped(begin - packet.t)
        self._database.execute(insertion("epochs"), with_sum(*key, offset))
        return offset

    def _note_missing(self) -> None:
        if not self._lost and not self.missing.unwritten():
            return
        try:
            self._commit([])
        except sqlite3.Error as error:
            self.fault = str(error)


class Missing:
    """The packets that should be in a log and are not. May be added to from any thread."""

    def __init__(self) -> None:
        self.count = 0
        self.why = ""
        self._lock = threading.Lock()
        self._ranges: dict[Track, list[int]] = {}
        self._rows: list[tuple[Value, ...]] = []
        self._all_written = True

    def add(self, packets: Iterable[Packet], why: str) -> None:
        """Note packets as missing, and why."""
        with self._lock:
            self.why = why
            self._all_written = False
            for packet in packets:
                self.count += 1
                key = (packet.stream, packet.track, packet.epoch)
                span = self._ranges.get(key)
                if span and packet.seq == span[1] + 1:
                    span[1] = packet.seq
                    continue
                self._end(key)
                self._ranges[key] = [packet.seq, packet.seq]

    def unwritten(self) -> list[tuple[Value, ...]]:
        """Return the rows for the table `missing` that are not yet in it."""
        with self._lock:
            for key in list(self._ranges):
                self._end(key)
            return list(self._rows)

    def written(self, count: int) -> None:
        """Forget the first `count` rows: the log has them."""
        with self._lock:
            del self._rows[:count]
            self._all_written = not self._rows and not self._ranges

    @property
    def told(self) -> str:
        """Whether the log itself says what it lacks."""
        return "which ones is written in it" if self._all_written else "not even that could be written in it"

    def _end(self, key: Track) -> None:
        span = self._ranges.pop(key, None)
        if span is None:
            return
        if len(self._rows) < RANGES:
            self._rows.append(with_sum(time.time_ns(), *key, *span, self.why))
        elif len(self._rows) == RANGES:
            why = f"more than can be named: {self.why}"
            self._rows.append(with_sum(time.time_ns(), None, None, None, None, None, why))
