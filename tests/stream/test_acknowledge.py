"""A printed packet is on the disk: kill, cut or fill what you like."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from log_samples import hops, packets_in
from processes import ROOT, Start
from stream.command.output import Output
from stream.errors import IncompleteLogError
from stream.log.writer import TokenLog
from stream.publish.control import ControlServer
from stream.publish.publisher import Publisher
from stream.subscribe.heard import Heard
from stream.subscriber import LoggedLines
from stream.wire.packets import Packet, encode
from wire_samples import PATIENCE, hop_of


def heard(packet: Packet) -> Heard:
    return Heard(packet, encode(packet), packet.wall, packet.t)


def test_a_line_is_printed_after_the_commit_and_not_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, packets = tmp_path / "a.db", hops(3)
    lines = LoggedLines(TokenLog(path), Output(threading.Event()))
    for packet in packets[:2]:
        lines.add(heard(packet), f"packet {packet.seq}")
    lines.flush()
    assert capsys.readouterr().out == ""
    lines.flush(now=True)
    assert capsys.readouterr().out == "packet 0\npacket 1\n"
    lines.add(heard(packets[2]), "packet 2")
    lines.close()
    assert capsys.readouterr().out == "packet 2\n"
    assert packets_in(path) == packets


def test_what_the_disk_does_not_take_is_not_acknowledged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    log = TokenLog(tmp_path / "a.db")
    lines = LoggedLines(log, Output(threading.Event()))
    for full, packet in zip((False, True, True, False), hops(4), strict=True):
        log._database.execute(f"PRAGMA query_only = {int(full)}")
        lines.add(heard(packet), f"packet {packet.seq}")
        lines.flush(now=True)
    assert capsys.readouterr().out == "packet 0\npacket 3\n"
    assert caplog.messages == [
        "log: attempt to write a readonly database: what comes now is neither kept nor printed",
        "log: it can be written again",
    ]
    with pytest.raises(IncompleteLogError, match="lacks 2 packets"):
        lines.close()
    assert [packet.seq for packet in packets_in(tmp_path / "a.db")] == [0, 3]


@pytest.fixture
def start(launch: Start) -> Start:
    """Start loggers."""

    def begin(address: str, path: Path, *flags: str) -> subprocess.Popen[str]:
        return launch("-m", "stream.subscriber", "--connect", address, "--log", str(path), "--json", *flags)

    return begin


def test_a_killed_logger_loses_nothing_that_it_printed_and_gets_the_rest_later(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    printed: set[tuple[int, int]] = set()
    with (
        Publisher("tcp://127.0.0.1:*", "demo") as publisher,
        ControlServer(publisher.history, beside=publisher.address) as control,
    ):
        publisher.control = control.told

        def publish(count: int) -> None:
            for _ in range(count):
                for track in (0, 1):
                    publisher.publish(**hop_of(track=track, t=time.monotonic_ns(), wall=time.time_ns()))

        for life in range(3):
            logger = start(publisher.address, path)
            lines: list[str] = []
            reader = threading.Thread(target=lambda out, lines: lines.extend(out), args=(logger.stdout, lines))
            reader.start()
            if life == 0:
                assert publisher.wait_for_subscriber(PATIENCE)
            deadline = time.monotonic() + 30
            while len(lines) < 6 and time.monotonic() < deadline:
                publish(1)
                publisher.status(2, {})
                time.sleep(0.02)
            logger.send_signal(signal.SIGKILL)
            logger.wait()
            reader.join()
            assert len(lines) >= 6
            told = [json.loads(line) for line in lines if line.endswith("\n")]
            printed |= {(packet["track"], packet["seq"]) for packet in told}
            kept = [(packet.track, packet.seq) for packet in packets_in(path)]
            assert printed <= set(kept)
            assert len(kept) == len(set(kept))
            publish(5)  # while nobody listens
        logger = start(publisher.address, path, "--once")
        ends = dict(publisher.last)
        deadline = time.monotonic() + 30
        while len(packets_in(path)) < sum(end + 1 for end in ends.values()) and time.monotonic() < deadline:
            publisher.status(2, {})
            time.sleep(0.02)
        publisher.goodbye("over")
        _, err = logger.communicate(timeout=PATIENCE)
    assert logger.returncode == 0, err
    assert "gaps 0" in err
    for track, end in ends.items():
        assert [packet.seq for packet in packets_in(path) if packet.track == track] == list(range(end + 1))


def test_the_disk_has_it_before_anybody_is_told(start: Start, tmp_path: Path) -> None:
    """In the order of system calls: every printed line follows a sync of the journal that follows its write."""
    script = f"""
import sys
import threading
from log_samples import hops
from stream.command.output import Output
from stream.subscriber import LoggedLines
from stream.subscribe.heard import Heard
from stream.log.writer import TokenLog
from stream.wire.packets import encode
lines = LoggedLines(TokenLog({str(tmp_path / "a.db")!r}), Output(threading.Event()))
for packet in hops(20):
    lines.add(Heard(packet, encode(packet), 0, 0), f"packet {{packet.seq}}")
    lines.flush(now=True)
    sys.stdout.flush()
"""
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-y", "-e", "trace=pwrite64,write,fsync,fdatasync", "-o", str(trace)]
    try:
        done = subprocess.run(
            [*command, sys.executable, "-c", script],
            env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}"},
            capture_output=True,
            encoding="utf-8",
            timeout=100,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("no strace here")
    if "PTRACE" in done.stderr or "ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    journal_dirty, told = False, 0
    for line in trace.read_text(encoding="utf-8").splitlines():
        if "a.db-wal>" in line:
            journal_dirty = "pwrite64(" in line or "write(" in line
            assert journal_dirty or "fsync(" in line or "fdatasync(" in line
        elif re.search(r'write\(1<.*"packet \d+', line):
            assert not journal_dirty, f"told before the disk had it: {line}"
            told += 1
    assert told == 20
