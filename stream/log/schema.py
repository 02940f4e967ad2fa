"""The layout of a token log: its tables, the check sum of every row, and errors in the user's words."""

import errno
import os
import sqlite3
import zlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from stream.errors import LogError
from stream.log.beside import check_beside, is_cut_short, played_back

APPLICATION = 0x4B544F4B  # "KTOK": tells our files from other SQLite databases
VERSION = 2
READABLE = (1, VERSION)

Value = int | str | bytes | None

TABLES = {
    "packets": (
        "received",  # ns since 1970
        "stream",
        "track",
        "epoch",
        "seq",
        "frame",
        "t",
        "wall",
        "time",  # place in the order of time, ns: t on a clock that no step of the wall clock turns back
        "tokenizer",
        "bytes",  # the whole frame: topic, NUL, msgpack
    ),
    "epochs": ("stream", "epoch", "offset"),  # time - t of all packets of one run of a producer
    "missing": ("noted", "stream", "track", "epoch", "first", "last", "why"),  # NULL from stream to last: unknown which
}
"""The columns of each table, less `id`, which comes first, and `crc`, which comes last and covers the others."""

SCHEMA = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
CREATE TABLE IF NOT EXISTS packets (
    id INTEGER PRIMARY KEY, received INTEGER NOT NULL, stream TEXT NOT NULL, track INTEGER NOT NULL,
    epoch BLOB NOT NULL, seq INTEGER NOT NULL, frame INTEGER NOT NULL, t INTEGER NOT NULL, wall INTEGER NOT NULL,
    time INTEGER NOT NULL, tokenizer TEXT NOT NULL, bytes BLOB NOT NULL, crc INTEGER NOT NULL,
    UNIQUE (stream, track, epoch, seq)
);
CREATE INDEX IF NOT EXISTS packets_by_time ON packets (time);
CREATE TABLE IF NOT EXISTS epochs (
    id INTEGER PRIMARY KEY, stream TEXT NOT NULL, epoch BLOB NOT NULL, offset INTEGER NOT NULL, crc INTEGER NOT NULL,
    UNIQUE (stream, epoch)
);
CREATE TABLE IF NOT EXISTS missing (
    id INTEGER PRIMARY KEY, noted INTEGER NOT NULL, stream TEXT, track INTEGER, epoch BLOB, first INTEGER,
    last INTEGER, why TEXT NOT NULL, crc INTEGER NOT NULL
);
"""

_ENCODER = msgspec.msgpack.Encoder()


def insertion(table: str) -> str:
    """Return the statement that adds a row: the table's columns, then their check sum; rows there already stay."""
    columns = (*TABLES[table], "crc")
    return f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def check_sum(values: Sequence[Value]) -> int:
    """Return the CRC-32 of a row's values, without id and crc."""
    return zlib.crc32(_ENCODER.encode(tuple(values)))


def with_sum(*values: Value) -> tuple[Value, ...]:
    """Return the row as it is stored."""
    return (*values, check_sum(values))


def checksum_ok(values: Sequence[Value]) -> bool:
    """Whether a row as it was stored, crc last, has the check sum that it had then."""
    return values[-1] == check_sum(values[:-1])


def open_to_read(path: Path) -> sqlite3.Connection:
    """Return a connection that changes nothing, for use under a lock from any thread. Raises sqlite3.Error, LogError.

    Beside a log that is written, or whose writer was killed, SQLite may put its index, `-shm`. What SQLite does not
    read without writing is read from a copy: what a crash cut short while the file itself was changed, and a log with
    a journal in a folder that cannot be written.
    """
    check_beside(path)
    try:
        database = played_back(path, "a crash cut it short") if is_cut_short(path) else _opened(path)
    except OSError as error:
        raise failure(path, error) from error
    database.text_factory = _text
    return database


def _opened(path: Path) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?mode=ro"
    database = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
    try:
        database.execute("PRAGMA schema_version").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CANTOPEN or not path.with_name(f"{path.name}-wal").exists():
            return database  # whatever is wrong shows again when it is used
        database.close()
        return played_back(path, "its folder cannot be written, and what was logged last is still in its journal")
    except sqlite3.Error:
        pass
    return database


def _text(data: bytes) -> str:
    """Decode also what is damaged: its check sum tells."""
    return data.decode("utf-8", "replace")


def clipped(number: int) -> int:
    """Return a number as SQLite can hold it: senders may claim any time, the sum of two need not fit."""
    return max(-(2**63), min(number, 2**63 - 1))


def prepare(database: sqlite3.Connection) -> None:
    """Create the tables where they are not, in one transaction. Raises sqlite3.Error."""
    database.execute("PRAGMA journal_mode = WAL")
    # A commit returns when the disk has it: FULL is what lets an acknowledged packet outlive a power cut.
    database.execute("PRAGMA synchronous = FULL")
    database.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")


def check_kind(database: sqlite3.Connection, path: Path) -> int:
    """Return the version of a log. Raises LogError if the file is no log or of an unknown version."""
    if database.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise LogError(f"{path} is not a token log but another database: choose another file")
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    if version not in READABLE:
        raise LogError(f"{path} is a log of version {version}, this program knows up to {VERSION}: use a new file")
    return version


def is_busy(error: Exception) -> bool:
    """Whether another process holds what a statement needs, which may succeed later."""
    # The low byte: the rest tells why.
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def failure(path: Path, error: Exception) -> LogError:
    """Return what to tell the user about an error of the database or the file."""
    if is_busy(error):
        return LogError(f"{path} is locked by another process: wait until that is done with it, or stop it")
    if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
        return LogError(f"{path} is not an SQLite file: choose another")
    if isinstance(error, sqlite3.DatabaseError) and "malformed" in str(error):
        return LogError(f"{path} is damaged and nothing in it can be read: move it away and begin a new file")
    return LogError(f"cannot use {path} as log: {error}: check rights and space of its folder")


def sync_folder(path: Path) -> None:
    """Make the names in the folder of `path` outlive a power cut, as far as the system can."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems know no such thing
            raise
    finally:
        os.close(folder)
