"""The token log: every packet once, its bytes exact, on the disk before it is acknowledged."""

import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from log_samples import append, hops, packets_in, write_first_version, write_log
from stream.errors import IncompleteLogError, LogError
from stream.log.background import LogWriter
from stream.log.reader import Gap, LogReader
from stream.log.writer import BATCH, COMMIT_INTERVAL, GONE, TokenLog
from stream.wire.packets import Packet, encode
from wire_samples import EPOCH, PATIENCE, sample

ROOT = Path(__file__).resolve().parents[3]
OTHER = bytes(16)


def test_packets_come_back_in_order_and_byte_for_byte(tmp_path: Path) -> None:
    packets = [packet for pair in zip(hops(20, track=1), hops(20, track=0), strict=True) for packet in pair]
    path = write_log(tmp_path / "tokens.db", packets)
    with LogReader(path) as reader:
        logged = list(reader.packets())
    assert [each.packet for each in logged] == packets
    assert [each.frame for each in logged] == [encode(packet) for packet in packets]
    assert [each.received for each in logged] == [packet.wall + 1 for packet in packets]


def test_the_bytes_kept_are_those_that_came(tmp_path: Path) -> None:
    packet = sample()
    topic, nul, body = encode(packet).partition(b"\0")
    with_unknown_key = topic + nul + bytes([body[0], body[1], body[2] + 1]) + body[3:] + b"\xa1z\x05"
    with TokenLog(tmp_path / "a.db") as log:
        log.append(packet, with_unknown_key, received=0)
    with LogReader(tmp_path / "a.db") as reader:
        assert list(reader.frames("demo", 3, EPOCH, 7, 7)) == [with_unknown_key]
    assert packets_in(tmp_path / "a.db") == [packet]


def test_a_packet_is_kept_once_even_across_runs(tmp_path: Path) -> None:
    for _ in range(2):
        with TokenLog(tmp_path / "a.db") as log:
            append(log, [sample(seq=seq) for seq in (0, 1, 1, 0)])
            append(log, [sample(seq=0, epoch=OTHER)])
    assert [(packet.epoch, packet.seq) for packet in packets_in(tmp_path / "a.db")] == [
        (EPOCH, 0),
        (EPOCH, 1),
        (OTHER, 0),
    ]


def test_extreme_numbers_fit(tmp_path: Path) -> None:
    extreme = sample(track=2**63 - 1, seq=2**63 - 1, frame=2**63 - 1, t=-(2**63), hop=64, observed=2**64 - 1)
    opposite = sample(t=2**63 - 1, wall=-(2**63))
    write_log(tmp_path / "a.db", [extreme, opposite])
    assert packets_in(tmp_path / "a.db") == [extreme, opposite]


def test_only_what_is_committed_is_acknowledged(tmp_path: Path) -> None:
    path, packets = tmp_path / "a.db", hops(3)
    with TokenLog(path) as log, LogReader(path) as reader:
        append(log, packets)
        assert log.flush() == []
        assert list(reader.packets()) == []
        assert log.flush(now=True) == packets
        assert [each.packet for each in reader.packets()] == packets
        assert log.flush(now=True) == []


def test_a_packet_waits_no_longer_than_the_commit_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    clock = SimpleNamespace(monotonic=lambda: now, time_ns=lambda: 0)
    monkeypatch.setattr("stream.log.writer.time", clock)
    with TokenLog(tmp_path / "a.db") as log:
        first, second, *many = hops(2 + BATCH)
        append(log, [first])
        assert log.flush() == []
        now += COMMIT_INTERVAL
        append(log, [second])
        assert log.flush() == [first, second]
        append(log, many)
        assert log.flush() == many, "so many do not wait"


def test_every_commit_is_synced(tmp_path: Path) -> None:
    with TokenLog(tmp_path / "a.db") as log:
        assert log._database.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert log._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_what_came_late_stands_where_it_belongs(tmp_path: Path) -> None:
    packets = hops(10)
    path = write_log(tmp_path / "a.db", packets[:3] + packets[7:] + packets[3:7])
    assert packets_in(path) == packets
    with LogReader(path) as reader:
        frames = [encode(packet) for packet in packets]
        assert list(reader.frames("demo", 3, EPOCH, 0, 2**63 - 1)) == frames
        assert list(reader.frames("demo", 3, EPOCH, 2, 5)) == frames[2:6]
        assert list(reader.frames("demo", 3, OTHER, 0, 9)) == []


def test_a_wall_clock_that_was_set_back_turns_nothing_round(tmp_path: Path) -> None:
    hour = 3600 * 10**9
    first = hops(4)
    first[2:] = [sample(seq=p.seq, frame=p.frame, t=p.t, wall=p.wall - hour) for p in first[2:]]
    second = [sample(seq=p.seq, frame=p.frame, t=p.t, wall=p.wall - hour, epoch=OTHER) for p in hops(4)]
    path = write_log(tmp_path / "a.db", first + second)
    assert packets_in(path) == first + second
    with LogReader(path) as reader:
        times = [each.time for each in reader.packets()]
        assert [each.packet for each in reader.packets(since=times[3])] == first[3:] + second
        assert reader.span() == (8, times[0], times[-1])


def test_blocks_of_reading_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.log.reader.BLOCK", 3)
    packets = [sample(track=track, seq=seq, t=seq // 4) for seq in range(10) for track in (0, 1)]
    path = write_log(tmp_path / "a.db", packets)
    assert packets_in(path) == packets
    with LogReader(path) as reader:
        assert len(list(reader.frames("demo", 1, EPOCH, 0, 9))) == 10


def test_while_another_process_holds_the_file_packets_wait(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with TokenLog(path) as log, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        append(log, hops(3))
        assert log.flush(now=True) == []
        assert (log.fault, log.waiting) == ("another process holds the file", 3)
        other.execute("ROLLBACK")
        assert log.flush(now=True) == hops(3)
        assert (log.fault, log.waiting, log.missing.count) == (None, 0, 0)
    assert packets_in(path) == hops(3)


def test_a_file_that_another_process_never_lets_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.db"
    log = TokenLog(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        append(log, hops(3))
        with pytest.raises(IncompleteLogError, match=r"lacks 3 packets \(another process holds the file"):
            log.close()
        monkeypatch.setattr("stream.log.writer.PATIENCE", 0.0)
        with pytest.raises(LogError, match="is locked by another process: wait"):
            TokenLog(path)


def test_two_logs_may_share_a_file_and_readers_read_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with TokenLog(path) as first, TokenLog(path) as second, LogReader(path) as reader:

        def write(log: TokenLog, track: int) -> None:
            for packet in hops(50, track=track):
                append(log, [packet])
                while log.waiting:  # for the other one
                    log.flush(now=True)
                seqs = [each.packet.seq for each in reader.packets() if each.packet.track == track]
                assert seqs == list(range(packet.seq + 1))

        threads = [threading.Thread(target=write, args=each) for each in ((first, 0), (second, 1))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert len(list(reader.packets())) == 100


def test_a_logger_that_starts_again_knows_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    write_log(path, hops(5, track=0))
    with TokenLog(path) as log:
        append(log, hops(3, track=0, epoch=OTHER))
        append(log, hops(2, begin=10, track=1, epoch=OTHER))
        append(log, hops(4, begin=14, track=1, epoch=OTHER))  # 12 and 13 did not come
        append(log, hops(2, stream="other"))
    with TokenLog(path) as log:
        assert log.last_seqs() == {("demo", 0, OTHER): 2, ("demo", 1, OTHER): 11, ("other", 3, EPOCH): 1}
        log.lose(("demo", 1, OTHER), 12, 13)
    with TokenLog(path) as log:
        assert log.last_seqs()["demo", 1, OTHER] == 17, "what is gone for good is not asked for again"
    with LogReader(path) as reader:
        assert reader.gaps() == [Gap("demo", 1, OTHER, 12, 13, GONE)]


@pytest.mark.parametrize("write", [write_log, write_first_version])
def test_runs_and_their_ends_are_known(tmp_path: Path, write: Callable[..., Path]) -> None:
    path = tmp_path / "a.db"
    write(
        path,
        [*hops(3, track=7), *hops(5, track=2), *hops(2, track=2, epoch=OTHER), *hops(9, track=2, stream="other")],
    )
    with LogReader(path) as reader:
        assert reader.epochs("demo", 10) == [EPOCH, OTHER]
        assert reader.epochs("demo", 1) == [OTHER]
        assert reader.epochs("nobody", 1) == []
        assert reader.ends("demo", EPOCH, 0, 10) == [(2, 4), (7, 2)]
        assert reader.ends("demo", EPOCH, 3, 10) == [(7, 2)]
        assert reader.ends("demo", EPOCH, 0, 1) == [(2, 4)]
        assert reader.ends("demo", OTHER, 0, 10) == [(2, 1)]
        assert reader.ends("nobody", EPOCH, 0, 10) == []


def test_a_log_of_the_first_version_can_be_read_but_not_continued(tmp_path: Path) -> None:
    packets = hops(5)
    path = write_first_version(tmp_path / "old.db", packets)
    assert packets_in(path) == packets
    with LogReader(path) as reader:
        assert list(reader.frames("demo", 3, EPOCH, 1, 2)) == [encode(packet) for packet in packets[1:3]]
        assert reader.gaps() == []
        reader.check()
    before = path.read_bytes()
    with pytest.raises(LogError, match="is a log of version 1, which can be read, replayed and exported"):
        TokenLog(path)
    assert path.read_bytes() == before


def test_files_that_are_no_log(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database at all, " * 100, encoding="utf-8")
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE songs (name TEXT)")
    newer = tmp_path / "newer.db"
    TokenLog(newer).close()
    with closing(sqlite3.connect(newer)) as database:
        database.executescript("ALTER TABLE packets ADD COLUMN more; PRAGMA user_version = 3")
    for path, reason in (
        (text, "is not an SQLite file"),
        (other, "is not a token log"),
        (newer, "is a log of version 3"),
    ):
        before = path.read_bytes()
        with pytest.raises(LogError, match=reason):
            TokenLog(path)
        with pytest.raises(LogError, match=reason):
            LogReader(path)
        assert path.read_bytes() == before, "a file that is not ours was changed"


def test_places_that_cannot_hold_a_log(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"no folder .*/missing to keep the log in: create it"):
        TokenLog(tmp_path / "missing" / "a.db")
    with pytest.raises(LogError, match="is a folder: name a file in it"):
        TokenLog(tmp_path)
    with pytest.raises(LogError, match="cannot use"):
        TokenLog("/proc/self/tokens.db")  # a folder in which nobody can create anything
    with pytest.raises(LogError, match="no log"):
        LogReader(tmp_path / "missing.db")


def fill(database: sqlite3.Connection, pages: int) -> None:
    """Let a database grow by no more than so many pages."""
    used = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {used + pages}")


def test_a_full_disk_costs_only_its_packets_and_the_log_says_which(tmp_path: Path) -> None:
    path, packets = tmp_path / "a.db", hops(200)
    log = TokenLog(path)
    append(log, packets[:10])
    assert log.flush(now=True) == packets[:10]
    fill(log._database, 2)
    append(log, packets[10:110])
    assert log.flush(now=True) == []
    assert log.fault == "database or disk is full"
    fill(log._database, 1000)  # there is space again
    append(log, packets[110:])
    assert log.flush(now=True) == packets[110:]
    assert log.fault is None
    with pytest.raises(IncompleteLogError, match=r"lacks 100 packets \(database or disk is full\): which ones is writ"):
        log.close()
    assert packets_in(path) == packets[:10] + packets[110:]
    with LogReader(path) as reader:
        assert reader.gaps() == [Gap("demo", 3, EPOCH, 10, 109, "database or disk is full")]
        with pytest.raises(IncompleteLogError, match="100 packets are missing"):
            reader.check()
    write_log(path, packets[10:110])
    with LogReader(path) as reader:
        assert reader.gaps() == [], "what came later is no longer missing"
        reader.check()


def test_a_disk_that_takes_nothing_any_more_is_told_at_the_end(tmp_path: Path) -> None:
    log = TokenLog(tmp_path / "a.db")
    log._database.execute("PRAGMA query_only = ON")
    append(log, hops(100))
    with pytest.raises(IncompleteLogError, match=r"lacks 100 packets .* not even that could be written"):
        log.close()


FILL = """
import resource, sys, time
from stream.log.background import LogWriter
from log_samples import hops
from stream.wire.packets import encode

writer = LogWriter(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
for packet in hops(500):
    writer.keep(packet, encode(packet))
    while packet.seq % 50 == 49 and writer.depth:
        time.sleep(0.005)
writer.close()
"""


def test_files_that_may_not_grow_are_survived_by_all_that_was_acknowledged(tmp_path: Path) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert soft == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path / "a.db")],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}"},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert "IncompleteLogError" in done.stderr
    kept = packets_in(tmp_path / "a.db")
    assert 0 < len(kept) < 500
    assert f"lacks {500 - len(kept)} packets" in done.stderr
    assert kept == hops(len(kept))


def test_a_producers_packets_reach_the_log_from_its_own_thread(tmp_path: Path) -> None:
    packets = hops(500)
    writer = LogWriter(tmp_path / "a.db")
    for packet in packets:
        writer.keep(packet, encode(packet))
    writer.close()
    writer.close()
    assert (writer.depth, writer.incomplete) == (0, None)
    assert packets_in(tmp_path / "a.db") == packets


def test_a_disk_that_hangs_never_holds_the_producer_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.log.background.QUEUE", 10)
    go_on, stuck = threading.Event(), threading.Event()
    flush = TokenLog.flush

    def slow_flush(log: TokenLog, now: bool = False) -> list[Packet]:
        stuck.set()
        go_on.wait(PATIENCE)
        return flush(log, now)

    monkeypatch.setattr(TokenLog, "flush", slow_flush)
    writer = LogWriter(tmp_path / "a.db")
    assert stuck.wait(PATIENCE)
    packets = hops(15)
    for packet in packets:
        writer.keep(packet, encode(packet))
    assert writer.incomplete == "the disk is too slow"
    go_on.set()
    with pytest.raises(IncompleteLogError, match=r"lacks 5 packets \(the disk is too slow\): which ones is written"):
        writer.close()
    assert packets_in(tmp_path / "a.db") == packets[:10]
    with LogReader(tmp_path / "a.db") as reader:
        assert reader.gaps() == [Gap("demo", 3, EPOCH, 10, 14, "the disk is too slow")]
