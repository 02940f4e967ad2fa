"""Finds damage in a token log before anything is written to it, and saves the packets that are whole."""

import os
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from stream.errors import LogError
from stream.log.beside import check_beside
from stream.log.salvage import MAGIC, carve, journal_damage
from stream.log.schema import (
    APPLICATION,
    TABLES,
    VERSION,
    Value,
    checksum_ok,
    clipped,
    failure,
    insertion,
    open_to_read,
    prepare,
    sync_folder,
    with_sum,
)

CHECKED = 256 * 1024 * 1024
"""Bytes of a log up to which it is checked whole when it is opened, about a second per 200,000 packets; in a larger
one the structure is taken on trust and the `NEWEST` packets are checked. Reading checks every row in any case."""

NEWEST = 10_000


@dataclass(frozen=True)
class Repair:
    """What was done to a damaged log. damage: what was found; kept: packets saved; original: the file as it was."""

    path: Path
    damage: str
    kept: int
    original: Path

    def __str__(self) -> str:
        return (
            f"{self.path} was damaged ({self.damage}): {self.kept} packets are whole and stay in the log, "
            f"the damaged file is kept as {self.original.name}"
        )


def mend(path: Path) -> Repair | None:
    """Check a log and its journal; replace them, if damaged, by a log of all rows that are whole.

    The damaged files are first copied to names that end in .damaged-<UTC time>, the new log begun as .repaired;
    stopped anywhere, the next call goes on. Raises LogError for a file that is no log of ours, for one that
    another process is using, and where there is no space.
    """
    journal, fresh = _beside(path, "-wal"), _beside(path, ".repaired")
    for file in (path, fresh):
        check_beside(file)
    try:
        if _is_finished(fresh):
            _replace(path, fresh)
        _remove(fresh)
        if (damage := _damage(path, journal)) is None:
            return None
        return _salvage(path, journal, fresh, damage)
    except (sqlite3.Error, OSError) as error:
        raise failure(path, error) from error


def _damage(path: Path, journal: Path) -> str | None:
    if not path.exists() or path.stat().st_size == 0:
        # What a crash leaves of a log that had not yet begun; with a journal, packets are at stake.
        return "the file is gone, its journal is not" if journal.exists() and any(carve(path, journal)) else None
    # Twice: another writer may begin the journal anew between two reads of ours.
    if (damage := journal_damage(journal)) and damage == journal_damage(journal):
        return damage
    try:
        with closing(open_to_read(path)) as database:
            marks = [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
            if marks != [APPLICATION, VERSION] or not _is_writable(path):
                return "its head is damaged" if _is_ours(path, journal) else None
            return _damage_inside(database, path.stat().st_size)
    except UnicodeDecodeError:  # in the text of an error of its own
        return "its schema is damaged"
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode not in _DAMAGE_CODES:
            raise
        if not _is_ours(path, journal):
            return None  # opening it says what it is
        return str(error)


_DAMAGE_CODES = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_IOERR_SHORT_READ)
"""Operational errors that speak of the file, not of the system: no such table or column, a file cut off."""


def _is_writable(path: Path) -> bool:
    """Whether the versions of the file's format are the usual ones: a changed one makes SQLite read only."""
    with path.open("rb") as file:
        return file.read(20)[18:] in (b"\1\1", b"\2\2")


def _is_ours(path: Path, journal: Path) -> bool:
    with path.open("rb") as file:
        if file.read(16) == MAGIC and file.seek(68) and int.from_bytes(file.read(4), "big") == APPLICATION:
            return (file.seek(60) > 0 and int.from_bytes(file.read(4), "big") == VERSION) or _has_our_tables(path)
    return any(carve(path, journal))


def _has_our_tables(path: Path) -> bool:
    """Whether a log is of our version, whatever number it bears: another version's tables are others."""
    with suppress(sqlite3.Error), closing(open_to_read(path)) as database:
        found = {table: [row[1] for row in database.execute(f"PRAGMA table_info({table})")] for table in TABLES}
        return found == {table: ["id", *columns, "crc"] for table, columns in TABLES.items()}
    return False


def _damage_inside(database: sqlite3.Connection, size: int) -> str | None:
    whole = size <= CHECKED
    if whole and (said := database.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
        return " ".join(str(said).split())
    for table, columns in TABLES.items():
        rows = f"SELECT id, {', '.join(columns)}, crc FROM {table} ORDER BY id DESC"
        for row in database.execute(rows if whole else f"{rows} LIMIT {NEWEST}"):
            if not checksum_ok(row[1:]):
                return f"row {row[0]} of {table} is not what was written"
    return None


def _salvage(path: Path, journal: Path, fresh: Path, damage: str) -> Repair:
    suffix = time.strftime(".damaged-%Y%m%dT%H%M%SZ", time.gmtime())
    original = _beside(path, suffix)
    copied_journal = _beside(original, "-wal")
    if original.exists():
        raise LogError(f"{path} is damaged again within a second of its repair: check the disk")
    for source, copy in ((path, original), (journal, copied_journal)):
        if source.exists():
            shutil.copyfile(source, copy)
            with copy.open("rb") as file:
                os.fsync(file.fileno())
    # After the copies: closing the last connection to a file plays its journal into it.
    if _is_in_use(path):
        _remove(original)
        _remove(copied_journal)
        raise LogError(f"{path} is damaged and another process is using it: stop that one, then start again")
    with closing(sqlite3.connect(fresh, isolation_level=None)) as database:
        prepare(database)
        database.execute("PRAGMA application_id = 0")  # until it is finished
        database.execute("BEGIN")
        for table, identity, row in carve(original, copied_journal):
            _keep(database, table, identity, row)
        kept = int(database.execute("SELECT count(*) FROM packets").fetchone()[0])
        runs = database.execute("SELECT stream, epoch, time, t FROM packets GROUP BY stream, epoch").fetchall()
        for stream, epoch, place, t in runs:
            database.execute(insertion("epochs"), with_sum(stream, epoch, clipped(place - t)))
        note = with_sum(time.time_ns(), None, None, None, None, None, f"damage ({damage}), see {original.name}")
        database.execute(insertion("missing"), note)
        database.execute("COMMIT")
        database.execute("PRAGMA journal_mode = DELETE")
        database.execute(f"PRAGMA application_id = {APPLICATION}")
    _replace(path, fresh)
    return Repair(path, damage, kept, original)


def _keep(database: sqlite3.Connection, table: str, identity: int, row: tuple[Value, ...]) -> None:
    taken = database.execute(f"SELECT 1 FROM {table} WHERE id = ?", (identity,)).fetchone()
    stored = database.execute(insertion(table), row).rowcount
    if stored and not taken:
        # Ids are the order of arrival.
        database.execute(f"UPDATE {table} SET id = ? WHERE id = last_insert_rowid()", (identity,))


def _is_finished(fresh: Path) -> bool:
    if not fresh.exists():
        return False
    with suppress(sqlite3.Error), closing(open_to_read(fresh)) as database:
        return bool(database.execute("PRAGMA application_id").fetchone()[0] == APPLICATION)
    return False


def _is_in_use(path: Path) -> bool:
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as database:
        try:
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            return error.sqlite_errorcode == sqlite3.SQLITE_BUSY
    return False


def _replace(path: Path, fresh: Path) -> None:
    # The old journal first: SQLite would play it into the new file.
    for name in ("-wal", "-shm"):
        _remove(_beside(path, name))
    os.replace(fresh, path)
    sync_folder(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
