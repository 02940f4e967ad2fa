"""The files that SQLite keeps beside a log: looked at before SQLite trusts them, as a log may come from anybody.

A rollback journal is played into its database by whoever opens it, and may name a "super-journal", a file anywhere that
is then deleted (https://www.sqlite.org/fileformat.html#the_rollback_journal). Ours never names one: a log is one file.
"""

import os
import shutil
import sqlite3
import stat
import tempfile
from contextlib import closing
from pathlib import Path

from stream.errors import LogError

SUFFIXES = ("-journal", "-wal", "-shm")

_MAGIC = bytes.fromhex("d9d505f920a163d7")
"""What a journal begins with, and ends with if it names a super-journal."""


def check_beside(path: Path) -> None:
    """Raise LogError for a file beside a log that is none of ours: a link, or a journal that names another file."""
    for suffix in SUFFIXES:
        beside = path.with_name(path.name + suffix)
        try:
            found = os.lstat(beside)
        except OSError:
            continue
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise LogError(f"{beside} is not a plain file of its own, so {path.name} is not opened: move it away")
    if _names_another(journal_of(path)):
        raise LogError(
            f"{journal_of(path)} would delete a file elsewhere, so {path.name} is not opened: no program of ours wrote "
            "it; move it away, and trust the log less"
        )


def journal_of(path: Path) -> Path:
    """Return where the rollback journal of a log would be."""
    return path.with_name(f"{path.name}-journal")


def is_cut_short(path: Path) -> bool:
    """Whether a crash cut a change of the file itself short: its journal has to be played back first."""
    try:
        with journal_of(path).open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def played_back(path: Path, why: str) -> sqlite3.Connection:
    """Return a connection to what a log is once its journal is played back, in a copy that nobody sees.

    why: it has to be a copy, for whoever has no place for one. Raises LogError, OSError, sqlite3.Error.
    """
    try:
        temporary = tempfile.TemporaryDirectory(prefix="kinetoken-")
    except OSError as error:
        raise LogError(
            f"{path} is read from a copy, as {why}, but there is no place for one "
            f"({error.strerror or error}): set TMPDIR to a folder that can be written to"
        ) from error
    with temporary as folder:
        copy = Path(folder) / "log"
        for suffix in ("", "-journal", "-wal"):
            source = path.with_name(path.name + suffix)
            if source.exists():
                shutil.copyfile(source, f"{copy}{suffix}")
        check_beside(copy)  # the original may have changed since it was looked at
        with closing(sqlite3.connect(copy)) as database:
            database.execute("PRAGMA journal_mode = DELETE")
        # The open file outlives its name.
        database = sqlite3.connect(
            f"{copy.as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False, isolation_level=None
        )
        database.execute("PRAGMA schema_version").fetchone()
        return database


def _names_another(journal: Path) -> bool:
    """Whether a journal ends with the name of a super-journal, as SQLite would read it."""
    try:
        with journal.open("rb") as file:
            file.seek(-len(_MAGIC), os.SEEK_END)
            return file.read() == _MAGIC
    except OSError:
        return False
