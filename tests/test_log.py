"""The token log: every packet once, its bytes exact, readable meanwhile, and clear about files it cannot use."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from wire_samples import EPOCH, PATIENCE, sample

from stream.errors import LogError
from stream.log import COMMIT_INTERVAL, TokenLog, read_log
from stream.wire import Packet, encode


def append(log: TokenLog, packet: Packet) -> None:
    log.append(packet, encode(packet), received=packet.wall + 1)


def rows(path: Path) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as database:
        return list(database.execute("SELECT * FROM packets ORDER BY id"))


def test_packets_come_back_in_order_and_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "tokens.db"
    packets = [sample(seq=seq, track=track) for seq in range(20) for track in (1, 0)]
    with TokenLog(path) as log:
        for packet in packets:
            append(log, packet)
    assert list(read_log(path)) == packets
    first = packets[0]
    assert rows(path)[0] == (
        1, first.wall + 1, "demo", 1, EPOCH, 0, 56, first.t, first.wall, first.tokenizer, encode(first)
    )  # fmt: skip


def test_the_bytes_kept_are_those_that_came(tmp_path: Path) -> None:
    packet = sample()
    topic, nul, body = encode(packet).partition(b"\0")
    with_unknown_key = topic + nul + bytes([body[0], body[1], body[2] + 1]) + body[3:] + b"\xa1z\x05"
    with TokenLog(tmp_path / "a.db") as log:
        log.append(packet, with_unknown_key, received=0)
    assert rows(tmp_path / "a.db")[0][-1] == with_unknown_key
    assert list(read_log(tmp_path / "a.db")) == [packet]


def test_a_packet_is_kept_once_even_across_runs(tmp_path: Path) -> None:
    for _ in range(2):
        with TokenLog(tmp_path / "a.db") as log:
            for seq in (0, 1, 1, 0):
                append(log, sample(seq=seq))
            append(log, sample(seq=0, epoch=bytes(16)))
    assert [(packet.epoch, packet.seq) for packet in read_log(tmp_path / "a.db")] == [
        (EPOCH, 0),
        (EPOCH, 1),
        (bytes(16), 0),
    ]


def test_extreme_numbers_fit(tmp_path: Path) -> None:
    extreme = sample(track=2**63 - 1, seq=2**63 - 1, frame=2**63 - 1, t=-(2**63), hop=64, observed=2**64 - 1)
    with TokenLog(tmp_path / "a.db") as log:
        append(log, extreme)
    assert list(read_log(tmp_path / "a.db")) == [extreme]


def test_it_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with TokenLog(path) as log:
        append(log, sample(seq=0))
        log.flush(now=True)
        reader: Iterator[Packet] = read_log(path)
        assert next(reader).seq == 0
        append(log, sample(seq=1))
        log.flush(now=True)
        assert [packet.seq for packet in read_log(path)] == [0, 1]


def test_a_packet_waits_no_longer_than_the_commit_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.db"
    now = 100.0
    monkeypatch.setattr("stream.log.time", SimpleNamespace(monotonic=lambda: now))
    with TokenLog(path) as log:
        append(log, sample(seq=0))
        log.flush()
        assert list(read_log(path)) == []
        now += COMMIT_INTERVAL
        log.flush()
        assert [packet.seq for packet in read_log(path)] == [0]
        append(log, sample(seq=1))
        now += COMMIT_INTERVAL
        append(log, sample(seq=2))
        assert [packet.seq for packet in read_log(path)] == [0, 1, 2]


def test_two_logs_may_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.db"

    def write(track: int) -> None:
        with TokenLog(path) as log:
            for seq in range(50):
                append(log, sample(track=track, seq=seq))
                log.flush(now=True)

    threads = [threading.Thread(target=write, args=(track,)) for track in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(list(read_log(path))) == 100


def test_closing_twice_is_fine(tmp_path: Path) -> None:
    log = TokenLog(tmp_path / "a.db")
    append(log, sample())
    log.close()
    log.close()
    assert len(rows(tmp_path / "a.db")) == 1


def test_files_that_are_no_log(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database at all, " * 100)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE songs (name TEXT)")
    newer = tmp_path / "newer.db"
    TokenLog(newer).close()
    with sqlite3.connect(newer) as database:
        database.execute("PRAGMA user_version = 2")
    for path, reason in ((text, "is no SQLite file"), (other, "is no token log"), (newer, "is a log of version 2")):
        before = path.read_bytes()
        with pytest.raises(LogError, match=reason):
            TokenLog(path)
        with pytest.raises(LogError, match=reason):
            list(read_log(path))
        assert path.read_bytes() == before, "a file that is not ours was changed"


def test_places_that_cannot_hold_a_log(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"no folder .*/missing to keep the log in: create it"):
        TokenLog(tmp_path / "missing" / "a.db")
    with pytest.raises(LogError, match="is a folder: name a file in it"):
        TokenLog(tmp_path)
    with pytest.raises(LogError, match="cannot use"):
        TokenLog("/proc/self/tokens.db")  # a folder in which nobody can create anything
    with pytest.raises(LogError, match="no log"):
        list(read_log(tmp_path / "missing.db"))


def test_a_log_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    log = TokenLog(path)
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE packets")
    append(log, sample())
    with pytest.raises(LogError, match=r"cannot use .*a.db as log: no such table"):
        log.close()
    log.close()


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with TokenLog(path) as log:
        append(log, sample(seq=0))
        append(log, sample(seq=1))
    with sqlite3.connect(path) as database:
        database.execute("UPDATE packets SET bytes = substr(bytes, 1, 40) WHERE seq = 1")
    reader = read_log(path)
    assert next(reader).seq == 0
    with pytest.raises(LogError, match=r"row 2 of .* is damaged"):
        next(reader)
