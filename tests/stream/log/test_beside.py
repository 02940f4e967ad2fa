import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from log_samples import append, hops, packets_in, write_log
from stream.errors import LogError, OutputError
from stream.export import STDOUT
from stream.export import Config as ExportConfig
from stream.export import main as export
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


def killed_writer(folder: Path) -> Path:
    """A log whose writer was killed: what it wrote last is in the journal alone."""
    path = folder / "log.db"
    log = TokenLog(path)
    append(log, hops(10))
    log.flush(True)
    (folder / "left").mkdir()
    for name in ("log.db", "log.db-wal"):
        shutil.copyfile(folder / name, folder / "left" / name)
    log.close()
    return folder / "left" / "log.db"


def test_reading_what_a_killed_writer_left_changes_nothing(tmp_path: Path) -> None:
    path = killed_writer(tmp_path)
    before = contents(path.parent)
    assert len(packets_in(path)) == 10
    assert contents(path.parent) == before


READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'


@pytest.mark.skipif(
    sys.platform != "linux"
    or subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0,
    reason="only root of Linux can make a place that cannot be written",
)
def test_what_a_killed_writer_left_is_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    path = killed_writer(tmp_path)
    there = ["unshare", "-m", "sh", "-c", READ_ONLY, "sh", str(path.parent)]
    export = [sys.executable, "-m", "stream.export", str(path), "--out", "-"]
    done = subprocess.run(there + export, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 10
    assert not path.with_name("log.db-shm").exists()


def test_a_whole_log_is_exported_without_a_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = write_log(tmp_path / "log.db", hops(10)), tmp_path / "log.jsonl"
    with monkeypatch.context() as without:
        without.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
        export(ExportConfig(str(path), "jsonl", out=str(out)), threading.Event())
        with pytest.raises(OutputError, match="set TMPDIR"):
            export(ExportConfig(str(path), "parquet", out=STDOUT), threading.Event())
    assert len(out.read_text(encoding="utf-8").splitlines()) == 10


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
