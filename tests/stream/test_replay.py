"""A log published again: the same packets, byte for byte, to readers that cannot tell it from the producer."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from engine.command.cli import run
from log_samples import append, hops, write_first_version, write_log
from stream.client import TokenStream
from stream.log.reader import place_of
from stream.log.writer import TokenLog
from stream.replay import EXAMPLES, Config, main
from stream.subscribe.heard import Heard
from stream.wire.packets import Goodbye, Packet, Status, encode
from wire_samples import EPOCH, PATIENCE, sample

ROOT = Path(__file__).resolve().parents[2]
LATER = bytes(16)


@contextmanager
def replayed(path: Path, folder: Path, **settings: object) -> Iterator[TokenStream]:
    """Give a reader that hears a replay of this log from its beginning."""
    address = f"ipc://{folder}/socket"
    with TokenStream(address) as stream, replaying(path, address, **settings):
        yield stream


@contextmanager
def replaying(path: Path, address: str, **settings: object) -> Iterator[None]:
    """Replay a log to whoever subscribes first."""
    config = Config(str(path), bind=address, wait=PATIENCE, **settings)  # type: ignore[arg-type]
    stop = threading.Event()
    failures: list[Exception] = []

    def replay() -> None:
        try:
            main(config, stop)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=replay)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE)
    if failures:
        raise failures[0]


def hear(stream: TokenStream) -> list[Heard]:
    """Return all packets and goodbyes up to the last goodbye."""
    heard: list[Heard] = []
    deadline = time.monotonic() + PATIENCE
    while not stream.ended and time.monotonic() < deadline:
        if each := stream.poll(0.1):
            heard.append(each)
    return heard


def packets_of(heard: list[Heard]) -> list[Packet]:
    return [each.message for each in heard if isinstance(each.message, Packet)]


def seqs_of(heard: list[Heard], track: int) -> list[int]:
    return [packet.seq for packet in packets_of(heard) if packet.track == track]


def test_every_frame_comes_again_byte_for_byte_and_in_order(tmp_path: Path) -> None:
    packets = [packet for pair in zip(hops(200, track=0), hops(200, track=1), strict=True) for packet in pair]
    path, address = write_log(tmp_path / "a.db", packets), f"ipc://{tmp_path}/socket"
    with zmq.Context() as context, context.socket(zmq.SUB) as plain:
        plain.set(zmq.LINGER, 0)
        plain.subscribe(b"tok/")
        plain.connect(address)
        with replaying(path, address, speed=0):
            frames: list[bytes] = []
            while len(frames) < 400 and plain.poll(int(PATIENCE * 1000)):
                frames.append(plain.recv())
    assert frames == [encode(packet) for packet in packets]


def test_a_reader_misses_nothing_and_hears_the_end(tmp_path: Path) -> None:
    packets = [packet for pair in zip(hops(200, track=0), hops(200, track=1), strict=True) for packet in pair]
    path = write_log(tmp_path / "a.db", packets)
    with replayed(path, tmp_path, speed=0) as stream:
        heard = hear(stream)
        assert stream.total.gaps == 0
    assert {track: seqs_of(heard, track) for track in (0, 1)} == {0: list(range(200)), 1: list(range(200))}
    goodbye = heard[-1].message
    assert isinstance(goodbye, Goodbye)
    assert dict(goodbye.last) == {0: 199, 1: 199}
    assert goodbye.epoch == EPOCH


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="only Linux tells how much came, so nothing is cut")
def test_a_reader_that_is_far_too_slow_misses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.wire.inflow.UNREAD", 200_000)
    packets = [packet for pair in zip(hops(2000, track=0), hops(2000, track=1), strict=True) for packet in pair]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    path = write_log(tmp_path / "a.db", packets)
    with TokenStream(address) as stream, replaying(path, address, speed=0):
        first = stream.poll(PATIENCE)
        assert first is not None
        deadline = time.monotonic() + PATIENCE
        while not stream._inlet.away:
            assert time.monotonic() < deadline, "never cut"
            time.sleep(0.01)
        heard = [first, *hear(stream)]
        assert not stream.lost
        assert stream.total.repaired > 0
    assert {track: seqs_of(heard, track) for track in (0, 1)} == {0: list(range(2000)), 1: list(range(2000))}


def test_a_log_of_the_first_version_can_be_replayed(tmp_path: Path) -> None:
    packets = hops(20)
    path = write_first_version(tmp_path / "a.db", packets)
    with replayed(path, tmp_path, speed=0) as stream:
        assert packets_of(hear(stream)) == packets


def test_runs_follow_one_another_each_with_its_goodbye(tmp_path: Path) -> None:
    day = 24 * 3600 * 10**9
    first = hops(5)
    second = [sample(seq=p.seq, frame=p.frame, t=p.t, wall=p.wall + day, epoch=LATER) for p in hops(5)]
    path = write_log(tmp_path / "a.db", first + second)
    with replayed(path, tmp_path, speed=100) as stream:  # a hundredth of a day would be long, too
        heard: list[Heard] = []
        while len(packets_of(heard)) < 10:
            each = stream.poll(PATIENCE)
            assert each is not None
            heard.append(each)
    assert packets_of(heard) == first + second
    (between,) = [i for i, each in enumerate(heard) if isinstance(each.message, Goodbye)]
    assert packets_of(heard[:between]) == first
    assert stream.streams["demo"].restarts == 1
    with replayed(path, tmp_path, speed=0) as stream:  # a reader that ends with the stream gets both
        assert packets_of(hear(stream)) == first + second


def test_several_streams_come_together_or_one_alone(tmp_path: Path) -> None:
    path = write_log(tmp_path / "a.db", [*hops(10), *hops(10, stream="other")])
    with replayed(path, tmp_path, speed=0) as stream:
        both: list[Packet] = []
        while len(both) < 20:
            each = stream.poll(PATIENCE)
            assert each is not None
            both += packets_of([each])
        assert [packet for packet in both if packet.stream == "demo"] == hops(10)
        assert [packet for packet in both if packet.stream == "other"] == hops(10, stream="other")
    with replayed(path, tmp_path, speed=0, stream="other") as stream:
        assert packets_of(hear(stream)) == hops(10, stream="other")


def test_the_pace_is_that_of_the_capture_times_speed(tmp_path: Path) -> None:
    packets = [sample(seq=seq, t=seq * 100_000_000, frame=8 * seq) for seq in range(9)]
    path = write_log(tmp_path / "a.db", packets)
    arrivals: list[float] = []
    with replayed(path, tmp_path, speed=2) as stream:
        while len(arrivals) < 9:
            each = stream.poll(PATIENCE)
            assert each is not None
            if isinstance(each.message, Packet):
                arrivals.append(each.monotonic / 1e9)
    assert arrivals[-1] - arrivals[0] >= 0.35  # 0.8 s at twice the speed


def test_it_begins_where_it_is_told_to(tmp_path: Path) -> None:
    packets = [sample(seq=seq, t=seq * 10**9) for seq in range(10)]
    path = write_log(tmp_path / "a.db", packets)
    with replayed(path, tmp_path, speed=0, from_="6.5") as stream:
        assert packets_of(hear(stream)) == packets[7:]
        assert stream.total.gaps == 0


def test_a_reader_gets_again_what_it_missed(tmp_path: Path) -> None:
    packets = [sample(seq=seq, t=seq * 20_000_000, frame=8 * seq) for seq in range(50) if seq not in (20, 21)]
    path = write_log(tmp_path / "a.db", packets)
    with replayed(path, tmp_path) as stream:
        controls = set()
        while not stream.ended:
            each = stream.poll(PATIENCE)
            assert each is not None
            if isinstance(each.message, Status):
                controls.add(each.message.control)
        assert controls != {""}
        assert [(lost.first, lost.last) for lost in stream.lost] == [(20, 21)], "what the log lacks is said to be lost"


def test_a_log_with_holes_and_damage_ends_with_its_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.db"
    log = TokenLog(path)
    append(log, hops(3))
    log.missing.add(hops(2, begin=3), "database or disk is full")
    with pytest.raises(Exception, match="lacks 2 packets"):
        log.close()
    argv = [str(path), "--speed", "0", "--bind", f"ipc://{tmp_path}/socket"]
    assert run(main, Config, prog="replay", examples=EXAMPLES, argv=argv) == 9
    assert "2 packets are missing" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ([], 2, "log"),
        (["{log}", "--speed", "-1"], 2, "--speed -1"),
        (["{log}", "--from", "noon"], 2, "--from noon: a time such as"),
        (["{log}", "--wait", "-1"], 2, "--wait -1"),
        (["{log}", "--stream", "nobody"], 7, "no packets of stream nobody in"),
        (["{log}", "--from", "99999"], 7, "no packets from 99999 on in"),
        (["nothing.db"], 7, "no log nothing.db"),
        (["{log}", "--bind", "nowhere"], 6, "'nowhere' is not a valid address"),
    ],
)
def test_bad_input_is_one_line_with_its_own_code(
    flags: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_log(tmp_path / "a.db", hops(3))
    argv = [flag.format(log=path) for flag in flags]
    assert run(main, Config, prog="replay", examples=EXAMPLES, argv=argv) == code
    err = capsys.readouterr().err.splitlines()
    assert [message in line for line in err if line.startswith("error:")] == [True]


def test_times_to_begin_at() -> None:
    assert place_of("90", 5) == 90 * 10**9 + 5
    assert place_of("2026-05-01T12:00+00:00", 5) == 1777636800 * 10**9
    for far in ("1e308", "9e9", "9999-12-31"):
        assert 0 < place_of(far, 10) < 2**63


def test_it_runs_as_a_command_and_stops_when_asked(tmp_path: Path) -> None:
    path = write_log(tmp_path / "a.db", [sample(seq=seq, t=seq * 10**9) for seq in range(1000)])
    address = f"ipc://{tmp_path}/socket"
    process = subprocess.Popen(
        [sys.executable, "-m", "stream.replay", str(path), "--bind", address, "--wait", "30"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    try:
        with TokenStream(address) as stream:
            while not isinstance((heard := stream.poll(30)) and heard.message, Packet):
                assert heard is not None
            process.terminate()
            _, said = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, said
    assert "stopped after" in said
