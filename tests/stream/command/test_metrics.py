"""Metrics and health: true numbers, the right code, never in the way of the stream."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from log_samples import append, hops
from stream.client import TokenStream
from stream.command.child import ProducerProcess
from stream.command.gauges import show_log, show_run
from stream.command.metrics import Monitor, split_address
from stream.command.report import Report
from stream.errors import IncompleteLogError, WireError
from stream.log.writer import TokenLog
from stream.publish.publisher import Publisher
from stream.wire.packets import Packet
from wire_samples import PATIENCE, hop_of

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with Monitor("0", "here to there") as open_monitor:
        yield open_monitor


def ask(address: str, path: str) -> tuple[int, str]:
    """Return code and body."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def numbers(address: str) -> dict[str, float]:
    """Return our metrics."""
    code, body = ask(address, "/metrics")
    assert code == 200
    lines = (line.rsplit(" ", 1) for line in body.splitlines() if line.startswith("kinetoken_"))
    return {name: float(value) for name, value in lines}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_numbers_are_read_when_asked_for(monitor: Monitor) -> None:
    counts = {"frames dropped": 1}
    monitor.show("frames", "Frames.", "counter", lambda: 7)
    monitor.show("dropped", "Drops.", "counter", lambda: counts, "cause")
    monitor.show("fps", "Rate.", "gauge", lambda: None)
    monitor.show("broken", "Broken.", "gauge", lambda: 1 / 0)
    for seconds in (0.004, 0.004, 3.0):
        monitor.latency(seconds)
    found = numbers(monitor.address)
    assert found["kinetoken_frames_total"] == 7
    assert found['kinetoken_dropped_total{cause="frames dropped"}'] == 1
    assert found["kinetoken_latency_seconds_count"] == 3
    assert found['kinetoken_latency_seconds_bucket{le="0.005"}'] == 2
    assert not any(name.startswith(("kinetoken_fps", "kinetoken_broken")) for name in found)
    counts["frames dropped"] = 5
    assert numbers(monitor.address)['kinetoken_dropped_total{cause="frames dropped"}'] == 5


def test_health_is_the_sum_of_its_checks(monitor: Monitor) -> None:
    problem: str | None = None
    monitor.check("source", lambda: problem)
    code, body = ask(monitor.address, "/health")
    assert (code, json.loads(body)["status"], json.loads(body)["problems"]) == (200, "ok", {})
    problem = "no frame"
    code, body = ask(monitor.address, "/health")
    assert (code, json.loads(body)["problems"]) == (503, {"source": "no frame"})
    problem = None
    monitor.check("log", lambda: str(1 / 0))
    code, body = ask(monitor.address, "/health")
    assert code == 503
    assert "cannot be told" in json.loads(body)["problems"]["log"]


def test_it_answers_only_what_there_is(monitor: Monitor) -> None:
    assert ask(monitor.address, "/etc/passwd")[0] == 404
    assert ask(monitor.address, "/health?verbose")[0] == 200
    with socket.create_connection(monitor.address.split(":"), timeout=PATIENCE) as rude:  # type: ignore[arg-type]
        rude.sendall(b"\x00garbage\r\n\r\n")
    assert ask(monitor.address, "/health")[0] == 200


def test_who_drips_is_hung_up_on(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.command.metrics.REQUEST_S", 0.2)
    with socket.create_connection(monitor.address.split(":"), timeout=0.05) as slow:  # type: ignore[arg-type]
        deadline = time.monotonic() + PATIENCE
        with suppress(ConnectionError):
            while time.monotonic() < deadline:
                slow.sendall(b"G")
                with suppress(TimeoutError):
                    assert not slow.recv(1)
                    break
        assert time.monotonic() < deadline


def test_too_many_clients_do_not_take_a_thread_each(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect() -> socket.socket:
        return socket.create_connection(monitor.address.split(":"), timeout=PATIENCE)  # type: ignore[arg-type]

    monkeypatch.setattr("stream.command.metrics.CLIENTS", 2)
    with connect(), connect(), connect() as third:
        assert third.recv(1) == b""
    deadline = time.monotonic() + PATIENCE
    while True:  # those who left are noticed
        with suppress(OSError):
            assert ask(monitor.address, "/health")[0] == 200
            return
        assert time.monotonic() < deadline


def test_addresses() -> None:
    assert split_address("9464") == ("127.0.0.1", 9464)
    assert split_address("0.0.0.0:9464") == ("0.0.0.0", 9464)
    assert split_address("[::1]:9464") == ("::1", 9464)
    for wrong in ("", "host", "host:", "1.2.3.4:99999", "::1:9464", "a b:1"):
        with pytest.raises(ValueError, match="write HOST:PORT"):
            split_address(wrong)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(WireError, match=f"cannot serve metrics at {port}: Address already in use"):
            Monitor(str(port), "")


class Run:
    """A run as a producer has it."""

    def __init__(self) -> None:
        self.report = Report("json")
        self.counters = {"frames": 9, "packets": 2, "reconnects": 1, "frames dropped": 4}
        self.people, self.waiting, self.ids = 3, 1, 128


def test_a_producer_without_frames_is_not_well(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run()
    show_run(monitor, run)
    run.report.frame(3, run.counters)
    assert monitor.health()[0]
    found = numbers(monitor.address)
    assert found["kinetoken_reconnects_total"] == 1
    assert found['kinetoken_dropped_total{cause="frames dropped"}'] == 4
    assert 'kinetoken_dropped_total{cause="packets"}' not in found
    assert found["kinetoken_ids_total"] == 128
    assert (found["kinetoken_people"], found["kinetoken_queue_frames"]) == (3, 1)
    later = time.monotonic() + 7
    monkeypatch.setattr("stream.command.gauges.time.monotonic", lambda: later)
    well, told = monitor.health()
    assert not well
    assert b"no frame for 7 s" in told


def test_an_incomplete_log_is_not_well(monitor: Monitor, tmp_path: Path) -> None:
    log = TokenLog(tmp_path / "a.db")
    show_log(monitor, log, lambda: log.waiting)
    append(log, hops(3))
    log.flush(now=True)
    assert monitor.health()[0]
    log._database.execute("PRAGMA query_only = ON")
    append(log, hops(2, begin=3))
    assert numbers(monitor.address)["kinetoken_queue_log"] == 2
    log.flush(now=True)
    well, told = monitor.health()
    assert not well
    assert b"2 packets are missing: attempt to write a readonly database" in told
    found = numbers(monitor.address)
    assert [found[f"kinetoken_log_{name}"] for name in ("packets_total", "missing_total", "complete")] == [3, 2, 0]
    with pytest.raises(IncompleteLogError):
        log.close()


def test_a_producer_shows_itself_and_logs_as_json(tmp_path: Path) -> None:
    port = free_port()
    flags = ["--demo", "--metrics", str(port), "--log", str(tmp_path / "a.db"), "--log-format", "json"]
    with ProducerProcess(flags, stderr=subprocess.PIPE) as producer, TokenStream(producer.address) as stream:
        packets = 0
        while packets < 4:
            heard = stream.poll(30)
            assert heard is not None
            packets += isinstance(heard.message, Packet)
        found = numbers(f"127.0.0.1:{port}")
        assert ask(f"127.0.0.1:{port}", "/health")[0] == 200
        assert producer.end() == 0
        assert producer.process.stderr is not None
        said = [json.loads(line) for line in producer.process.stderr.read().splitlines()]
    assert found["kinetoken_packets_total"] >= 4
    assert found["kinetoken_frames_total"] >= 16
    assert found["kinetoken_people"] == 2
    assert found["kinetoken_fps"] > 1
    assert found["kinetoken_latency_seconds_count"] >= 4
    assert found["kinetoken_log_complete"] == 1
    assert found["kinetoken_replayed_packets_total"] >= 0
    assert said[0]["event"] == "started"
    assert "demo, 2 people" in said[0]["message"]
    assert said[1]["message"].startswith("tokenizer heatmap2d-f8@")
    assert (said[-1]["event"], said[-1]["level"], said[-1]["reason"]) == ("ended", "info", "stopped")
    assert said[-1]["counters"]["packets"] >= 4


def test_a_reader_shows_itself_and_its_errors_are_json_too() -> None:
    port = free_port()
    with Publisher("tcp://127.0.0.1:*", "demo") as publisher:
        flags = ["--connect", publisher.address, "--metrics", str(port), "--log-format", "json", "--timeout", "1"]
        process = subprocess.Popen(
            [sys.executable, "-m", "stream.subscriber", *flags],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        try:
            assert publisher.wait_for_subscriber(PATIENCE)
            publisher.publish(**hop_of(t=time.monotonic_ns(), wall=time.time_ns()))
            assert process.stdout is not None
            assert process.stdout.readline().startswith("demo/0")
            found = numbers(f"127.0.0.1:{port}")
            assert ask(f"127.0.0.1:{port}", "/health")[0] == 200
            _, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
            process.wait()
    assert found['kinetoken_reader_packets_total{outcome="received"}'] == 1
    assert found['kinetoken_reader_packets_total{outcome="gaps"}'] == 0
    assert found["kinetoken_latency_seconds_count"] == 1
    assert found["kinetoken_streams"] == 1
    assert process.returncode == 8
    last = json.loads(err.splitlines()[-1])
    assert (last["event"], last["level"], last["exit_code"]) == ("error", "error", 8)
