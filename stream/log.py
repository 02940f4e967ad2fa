"""The token log: one SQLite row a packet, exact bytes kept, readable while it is written."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Self

from stream.errors import LogError
from stream.wire import Packet, PacketError, decode

APPLICATION = 0x4B544F4B  # "KTOK": tells our files from other SQLite databases
SCHEMA_VERSION = 1

COMMIT_INTERVAL = 0.2
"""Seconds for which a packet may wait for its commit."""

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE IF NOT EXISTS packets (
    id INTEGER PRIMARY KEY,         -- order of arrival
    received INTEGER NOT NULL,      -- ns since 1970
    stream TEXT NOT NULL,
    track INTEGER NOT NULL,
    epoch BLOB NOT NULL,
    seq INTEGER NOT NULL,
    frame INTEGER NOT NULL,
    t INTEGER NOT NULL,
    wall INTEGER NOT NULL,
    tokenizer TEXT NOT NULL,
    bytes BLOB NOT NULL,            -- the whole frame: topic, NUL, msgpack
    UNIQUE (stream, track, epoch, seq)
);
CREATE INDEX IF NOT EXISTS packets_by_time ON packets (wall);
"""


class TokenLog:
    """Appends packets to a log, new or begun before. A packet already in it is not stored twice.

    Packets are committed `COMMIT_INTERVAL` after they came, if `append` or `flush` is called that often.
    Raises LogError if the file cannot be opened or written, or is no token log.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).absolute()  # a name such as :memory: is a file like any other
        self._waiting: list[tuple[int | str | bytes, ...]] = []
        self._commit_due = 0.0
        if not self._path.parent.is_dir():
            raise LogError(f"no folder {self._path.parent} to keep the log in: create it or choose another")
        if self._path.is_dir():
            raise LogError(f"{self._path} is a folder: name a file in it to keep the log in")
        try:
            self._database = sqlite3.connect(self._path)
        except sqlite3.Error as error:
            raise _failure(self._path, error) from error
        try:
            self._prepare()
        except (sqlite3.Error, LogError) as error:
            self._database.close()
            raise error if isinstance(error, LogError) else _failure(self._path, error) from error

    def append(self, packet: Packet, frame: bytes, received: int) -> None:
        """Store a packet, the frame it came in and the time of receipt (ns since 1970)."""
        if not self._waiting:
            self._commit_due = time.monotonic() + COMMIT_INTERVAL
        p = packet
        self._waiting.append((received, p.stream, p.track, p.epoch, p.seq, p.frame, p.t, p.wall, p.tokenizer, frame))
        self.flush()

    def flush(self, now: bool = False) -> None:
        """Commit what waits, if it has waited long enough or `now`."""
        if not self._waiting or not (now or time.monotonic() >= self._commit_due):
            return
        try:
            # One short transaction, so that others can write to the file between two of ours.
            with self._database:
                self._database.executemany(
                    "INSERT OR IGNORE INTO packets"
                    " (received, stream, track, epoch, seq, frame, t, wall, tokenizer, bytes)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    self._waiting,
                )
        except sqlite3.Error as error:
            raise _failure(self._path, error) from error
        self._waiting.clear()

    def close(self) -> None:
        """Commit what waits and close the file. Safe to call twice."""
        try:
            self.flush(now=True)
        finally:
            self._waiting.clear()
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _prepare(self) -> None:
        if self._database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            _check_kind(self._database, self._path)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")


def read_log(path: str | Path) -> Iterator[Packet]:
    """Yield the packets of a log in the order of their arrival, up to the last commit. Raises LogError."""
    path = Path(path)
    if not path.is_file():
        raise LogError(f"no log {path}")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            _check_kind(database, path)
            for number, frame in database.execute("SELECT id, bytes FROM packets ORDER BY id"):
                try:
                    yield decode(frame)
                except PacketError as error:
                    raise LogError(f"row {number} of {path} is damaged: {error}") from error
    except sqlite3.Error as error:
        raise _failure(path, error) from error


def _check_kind(database: sqlite3.Connection, path: Path) -> None:
    if database.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise LogError(f"{path} is no token log but some other database: choose another file")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION:
        raise LogError(f"{path} is a log of version {version}, not {SCHEMA_VERSION}: use a new file")


def _failure(path: Path, error: sqlite3.Error) -> LogError:
    if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
        return LogError(f"{path} is no SQLite file: choose another")
    return LogError(f"cannot use {path} as log: {error}: check rights and space of its folder")
