import os
import shutil
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import pytest

from log_samples import hops, packets_in, write_log
from stream.errors import LogError
from stream.log.beside import SUFFIXES
from stream.log.reader import LogReader
from stream.log.writer import TokenLog

MAGIC = bytes.fromhex("d9d505f920a163d7")


@pytest.fixture
def cut_short(tmp_path: Path) -> Path:
    """A log of ten packets whose removal a crash has interrupted: half of them are in the journal alone."""
    there = write_log(tmp_path / "there.db", hops(10))
    path = tmp_path / "log.db"
    with closing(sqlite3.connect(there, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = DELETE")
        database.execute("PRAGMA cache_spill = 1")
        database.execute("PRAGMA cache_size = 1")
        database.execute("BEGIN")
        database.execute("DELETE FROM packets")
        database.execute(
            "CREATE TABLE filler AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
            " LIMIT 20000) SELECT i, hex(zeroblob(100)) FROM n"
        )
        for suffix in ("", "-journal"):
            shutil.copyfile(f"{there}{suffix}", f"{path}{suffix}")
        database.execute("ROLLBACK")
    assert Path(f"{path}-journal").read_bytes()[:8] == MAGIC
    return path


def name_another(path: Path, victim: Path) -> None:
    """Let the journal of a log name a super-journal."""
    name = os.fsencode(victim)
    signed = sum(struct.unpack(f"{len(name)}b", name)) & 0xFFFFFFFF
    page = 2**30 // 4096 + 1
    with Path(f"{path}-journal").open("ab") as file:
        file.write(struct.pack(">I", page) + name + struct.pack(">II", len(name), signed) + MAGIC)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}


def test_reading_a_log_that_a_crash_cut_short_undoes_that_without_writing(cut_short: Path) -> None:
    before = contents(cut_short.parent)
    assert len(packets_in(cut_short)) == 10
    assert contents(cut_short.parent) == before


def test_without_a_temporary_folder_one_line_says_what_to_set(cut_short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(cut_short / "nowhere"))
    with pytest.raises(LogError, match="set TMPDIR"):
        LogReader(cut_short)


def test_writing_goes_on_after_a_crash(cut_short: Path) -> None:
    with TokenLog(cut_short) as log:
        assert log.repair is None
    assert len(packets_in(cut_short)) == 10


@pytest.mark.parametrize("opened", [LogReader, TokenLog])
def test_a_journal_that_would_delete_another_file_is_refused(cut_short: Path, opened: type) -> None:
    victim = cut_short.parent / "victim"
    victim.write_bytes(b"dear")
    name_another(cut_short, victim)
    before = contents(cut_short.parent)
    with pytest.raises(LogError, match="would delete a file elsewhere"):
        opened(cut_short)
    assert contents(cut_short.parent) == before


def test_sqlite_itself_would_have_deleted_it(cut_short: Path) -> None:
    victim = cut_short.parent / "victim"
    victim.write_bytes(b"dear")
    name_another(cut_short, victim)
    with closing(sqlite3.connect(cut_short)) as database:
        database.execute("PRAGMA schema_version").fetchone()
    assert not victim.exists()


@pytest.mark.parametrize("opened", [LogReader, TokenLog])
@pytest.mark.parametrize("link", [os.link, os.symlink])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_link_in_the_place_of_a_journal_is_refused(tmp_path: Path, suffix: str, link: object, opened: type) -> None:
    path = write_log(tmp_path / "log.db", hops(1))
    victim = tmp_path / "victim"
    victim.write_bytes(b"dear")
    link(victim, f"{path}{suffix}")  # type: ignore[operator]
    with pytest.raises(LogError, match="not a plain file"):
        opened(path)
    assert victim.read_bytes() == b"dear"
