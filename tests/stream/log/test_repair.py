"""Damage to a log: cut off anywhere, any bit changed; what is whole is kept, what is not is said."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from log_samples import append, hops, packets_in, write_log
from stream.errors import IncompleteLogError, LogError
from stream.log.reader import LogReader
from stream.log.salvage import journal_damage
from stream.log.writer import TokenLog
from stream.wire.packets import Packet, encode
from wire_samples import sample

COUNT = 30
PAGE = 4096
FRAME = 24 + PAGE


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a log that was closed in good order."""
    return write_log(tmp_path_factory.mktemp("whole") / "a.db", hops(COUNT)).read_bytes()


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """The file and the journal of a log whose process ended after ten commits of three packets."""
    path = tmp_path_factory.mktemp("crashed") / "a.db"
    log = TokenLog(path)
    packets = hops(COUNT)
    for i in range(0, COUNT, 3):
        append(log, packets[i : i + 3])
        log.flush(now=True)
    files = path.read_bytes(), path.with_name("a.db-wal").read_bytes()
    log.close()
    return files


def inside(file: bytes) -> int:
    """Return a place in the middle of a packet."""
    return file.index(encode(hops(COUNT)[15])) + 100


def reopen(folder: Path, file: bytes, journal: bytes | None = None) -> tuple[list[int], str | None]:
    """Open a log of these bytes, append to it, close it; return what it still has, by seq, and what it says."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = folder / "a.db"
    path.write_bytes(file)
    if journal is not None:
        (folder / "a.db-wal").write_bytes(journal)
    (following,) = hops(1, begin=1000)
    with TokenLog(path) as log:
        said = str(log.repair) if log.repair else None
        append(log, [following])
        assert log.flush(now=True) == [following]
    with LogReader(path) as reader:
        packets = [each.packet for each in reader.packets()]
        assert not reader.damaged
        if said:
            with pytest.raises(IncompleteLogError, match=r"see a.db.damaged-"):
                reader.check()
    assert packets[-1] == following
    assert packets[:-1] == [hops(COUNT)[packet.seq] for packet in packets[:-1]]
    return [packet.seq for packet in packets[:-1]], said


def test_a_journal_cut_anywhere_keeps_every_whole_commit(tmp_path: Path, crashed: tuple[bytes, bytes]) -> None:
    file, journal = crashed
    frames = [at for at in range(32, len(journal), FRAME) if journal[at + 4 : at + 8] != bytes(4)]  # ends of commits
    for cut in (*range(0, len(journal), 4001), *frames, len(journal) - 1, len(journal)):
        seqs, said = reopen(tmp_path / "log", file, journal[:cut])
        commits = sum(at + FRAME <= cut for at in frames) - (len(frames) - COUNT // 3)
        assert seqs == list(range(3 * max(commits, 0)))
        assert said is None


def test_a_bit_changed_in_the_journal_loses_nothing_silently(tmp_path: Path, crashed: tuple[bytes, bytes]) -> None:
    file, journal = crashed
    at = len(journal) // 2 // FRAME * FRAME + 32
    for place in (0, 17, 28, at + 1, at + 9, at + 20, *range(at, at + FRAME, 401)):
        damaged = bytearray(journal)
        damaged[place] ^= 1 << place % 8
        seqs, said = reopen(tmp_path / "log", file, bytes(damaged))
        assert said, f"a changed bit at {place} went unnoticed"
        assert len(seqs) >= COUNT - 12, "more than a page of packets is gone"


def test_a_changed_end_of_the_journal_is_a_torn_one(crashed: tuple[bytes, bytes], tmp_path: Path) -> None:
    journal = tmp_path / "a.db-wal"
    journal.write_bytes(crashed[1])
    assert journal_damage(journal) is None
    last = bytearray(crashed[1])
    last[-1] ^= 1
    journal.write_bytes(last)
    assert journal_damage(journal) is None
    assert journal_damage(tmp_path / "none") is None


@pytest.mark.parametrize("page", [0, 2, 9])
def test_a_bit_changed_in_the_file_is_found_and_costs_one_page(tmp_path: Path, whole: bytes, page: int) -> None:
    unsaid = []
    for place in range(page * PAGE, (page + 1) * PAGE, 149):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        seqs, said = reopen(tmp_path / "log", bytes(damaged))
        assert len(seqs) >= COUNT - 12
        if not said:
            unsaid.append(place)
            assert len(seqs) == COUNT
    assert len(unsaid) < PAGE // 149, "no change of this page is ever noticed"


def test_every_bit_of_version_and_kind_may_turn(tmp_path: Path, whole: bytes) -> None:
    for bit in (*range(8 * 60, 8 * 64), *range(8 * 68, 8 * 72)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        seqs, said = reopen(tmp_path / "log", bytes(damaged))
        assert said
        assert len(seqs) == COUNT


def test_a_file_cut_anywhere_keeps_the_packets_before(tmp_path: Path, whole: bytes) -> None:
    for cut in range(3 * PAGE, len(whole), 1999):
        seqs, said = reopen(tmp_path / "log", whole[:cut])
        assert said
        assert seqs == sorted(set(seqs))
    assert len(seqs) > COUNT // 2


def test_the_damaged_files_are_kept_as_they_were(tmp_path: Path, crashed: tuple[bytes, bytes]) -> None:
    file, journal = crashed
    damaged = bytearray(journal)
    damaged[len(journal) // 2] ^= 1
    reopen(tmp_path / "log", file, bytes(damaged))
    (kept,) = (path for path in (tmp_path / "log").glob("a.db.damaged-*Z"))
    assert kept.read_bytes() == file
    assert kept.with_name(kept.name + "-wal").read_bytes() == damaged


def test_large_packets_are_saved_from_their_overflow_pages(tmp_path: Path) -> None:
    packets = [
        sample(seq=seq, shape=(8, 4, 8, 16), tokens=np.random.default_rng(seq).bytes(8192), t=seq) for seq in range(20)
    ]
    path = write_log(tmp_path / "a.db", packets)
    damaged = bytearray(path.read_bytes())
    middle = damaged.index(packets[10].tokens[-1000:])
    damaged[middle] ^= 1
    path.write_bytes(damaged)
    with TokenLog(path) as log:
        assert log.repair is not None
        assert log.repair.kept == 19
    assert packets_in(path) == packets[:10] + packets[11:]


def test_a_repair_that_was_interrupted_is_finished(
    tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    for call in ("os.replace", "stream.log.repair.prepare"):
        damaged = bytearray(whole)
        damaged[inside(whole)] ^= 1
        path.write_bytes(damaged)
        with monkeypatch.context() as patch:
            patch.setattr(call, interrupted)
            with pytest.raises(KeyboardInterrupt):
                TokenLog(path)
        for copy in tmp_path.glob("a.db.damaged-*"):
            copy.unlink()
        TokenLog(path).close()
        assert len(packets_in(path)) > COUNT - 12
        assert not path.with_name("a.db.repaired").exists()


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_damaged_log_in_use_is_left_alone(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(whole)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = WAL")  # as every logger does
        other.execute("SELECT count(*) FROM packets").fetchone()
        with path.open("r+b") as file:
            file.seek(inside(whole))
            file.write(bytes([whole[inside(whole)] ^ 1]))
        with pytest.raises(LogError, match="damaged and another process is using it"):
            TokenLog(path)
    assert not list(tmp_path.glob("*.damaged*"))


def test_reading_leaves_damaged_rows_out_and_names_them(tmp_path: Path) -> None:
    path = write_log(tmp_path / "a.db", hops(3))
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE packets SET bytes = substr(bytes, 1, 40) WHERE seq = 1")
        database.commit()
    with LogReader(path) as reader:
        kept: list[Packet] = [each.packet for each in reader.packets()]
        assert [packet.seq for packet in kept] == [0, 2]
        with pytest.raises(IncompleteLogError, match=r"row 2 is damaged \(it is not what was written\)"):
            reader.check()


@pytest.mark.parametrize("reads", [False, True], ids=["continued", "read"])
def test_a_change_of_the_file_that_was_cut_short_is_undone(tmp_path: Path, whole: bytes, reads: bool) -> None:
    """Opening and closing a log change the file itself; a crash just then leaves SQLite's other journal."""
    (tmp_path / "before").mkdir()
    path = tmp_path / "before" / "a.db"
    path.write_bytes(whole)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA cache_size = 1")  # so that the change reaches the file before its end
        database.execute("BEGIN")
        database.execute("UPDATE packets SET received = 0, bytes = zeroblob(5000)")
        shutil.copytree(path.parent, tmp_path / "after")
    cut = tmp_path / "after" / "a.db"
    assert cut.read_bytes() != whole
    if not reads:
        with TokenLog(cut) as log:
            assert log.repair is None
    assert packets_in(cut) == hops(COUNT)
