"""A real producer's people handed on to OSC, LSL, MQTT and MCAP, each read by what reads it in the field."""

import itertools
import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from mcap.reader import make_reader
from paho.mqtt.enums import CallbackAPIVersion
from pythonosc.osc_bundle import OscBundle
from pythonosc.osc_message import OscMessage

from engine.command.cli import run
from nats_servers import NatsServers
from processes import Start
from stream.bridge import EXAMPLES, Config, main
from stream.client import TokenStream
from stream.motion.skeleton import JOINTS
from stream.sinks.playout import Playout

PATIENCE = 60.0


def bridge(*flags: str) -> int:
    return run(main, Config, prog="bridge", examples=EXAMPLES, argv=["--once", "--timeout", "60", *flags])


@pytest.fixture
def demo(launch: Start, tmp_path: Path) -> str:
    """The address of a producer that plays two people for two seconds, once somebody listens."""
    address = f"ipc://{tmp_path}/socket"
    launch("-m", "stream.producer", "--demo", "--dims", "3d", "--duration", "2", "--wait", "60", "--bind", address)
    return address


class OscEar:
    """Takes what is sent to a UDP port."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.port: int = self._socket.getsockname()[1]

    def heard(self) -> list[OscMessage]:
        """Return all messages that have come."""
        messages: list[OscMessage] = []
        while True:
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                self._socket.close()
                return messages
            messages += OscBundle(data) if OscBundle.dgram_is_bundle(data) else [OscMessage(data)]


def test_osc_and_mcap(demo: str, tmp_path: Path) -> None:
    ear, recording = OscEar(), tmp_path / "demo.mcap"
    assert bridge("--connect", demo, "--osc", f"127.0.0.1:{ear.port}", "--mcap", str(recording)) == 0
    told = Counter(message.address for message in ear.heard())
    with recording.open("rb") as file:
        written = [
            (channel.topic, json.loads(message.data)) for _, channel, message in make_reader(file).iter_messages()
        ]
    packets = [line for topic, line in written if topic.startswith("/tokens/")]
    assert {line["track"] for line in packets} == {0, 1}
    frames = Counter(line["track"] for line in packets)
    for track, hops in frames.items():
        person = f"/kinetoken/demo/{track}"
        assert told[f"{person}/ids"] == hops
        assert {told[f"{person}/{joint}"] for joint in JOINTS} == {8 * hops}
        assert sum(topic == f"/body/demo/{track}" for topic, _ in written) == 8 * hops
    assert told["/kinetoken/demo/gone"] == 1


@contextmanager
def broker(folder: Path, *, password: str | None = None) -> Iterator[int]:
    """Run mosquitto on a free port."""
    if not (program := shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")):
        pytest.skip("no mosquitto here: apt-get install mosquitto")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lines = [f"listener {port} 127.0.0.1", f"allow_anonymous {'false' if password else 'true'}"]
    if password:
        subprocess.run(["mosquitto_passwd", "-b", "-c", str(folder / "users"), "ann", password], check=True)
        (folder / "users").chmod(0o644)
        lines.append(f"password_file {folder / 'users'}")
    (folder / "mosquitto.conf").write_text("\n".join([*lines, "user root", ""]), encoding="utf-8")
    process = subprocess.Popen([program, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()


def test_mqtt(demo: str, tmp_path: Path) -> None:
    with broker(tmp_path) as port:
        heard: list[tuple[str, Any]] = []
        listening, gone = threading.Event(), threading.Event()
        client = mqtt.Client(CallbackAPIVersion.VERSION2)

        def on_message(client: Any, data: Any, message: mqtt.MQTTMessage) -> None:
            heard.append((message.topic, json.loads(message.payload)))
            if message.topic.endswith("/gone"):
                gone.set()

        client.on_message = on_message
        client.on_subscribe = lambda *_: listening.set()
        client.connect("127.0.0.1", port)
        client.subscribe("studio/#", qos=1)
        client.loop_start()
        assert listening.wait(PATIENCE)
        assert bridge("--connect", demo, "--mqtt", f"mqtt://127.0.0.1:{port}/studio") == 0
        assert gone.wait(PATIENCE)
        client.disconnect()
        client.loop_stop()
    lines = [line for topic, line in heard if topic in ("studio/demo/0", "studio/demo/1")]
    for track in (0, 1):
        seqs = [line["seq"] for line in lines if line["track"] == track]
        assert seqs == list(range(len(seqs)))
        assert len(seqs) >= 6
    assert len(lines[0]["joints"]) == 8


def test_a_broker_that_does_not_let_us_in(demo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not shutil.which("mosquitto_passwd"):
        pytest.skip("no mosquitto here: apt-get install mosquitto")
    with broker(tmp_path, password="right") as port:
        assert bridge("--connect", demo, "--mqtt", f"mqtt://ann:wr0ng@127.0.0.1:{port}") == 12
    told = capsys.readouterr().err
    assert "check user and password" in told
    assert "wr0ng" not in told


def test_a_broker_that_is_away_is_said_and_the_stream_goes_on(demo: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert bridge("--connect", demo, "--mqtt", f"mqtt://127.0.0.1:{port}") == 0
    told = capsys.readouterr().err
    assert told.count("is not there") == 1
    assert "messages did not reach" in told


def test_lsl(launch: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lsl.cfg").write_text("[multicast]\nResolveScope = machine\n", encoding="utf-8")
    monkeypatch.setenv("LSLAPICFG", str(tmp_path / "lsl.cfg"))
    pylsl = pytest.importorskip("pylsl", exc_type=ImportError)
    address = f"ipc://{tmp_path}/socket"
    launch("-m", "stream.producer", "--demo", "--dims", "3d", "--wait", "60", "--bind", address)
    process = launch("-m", "stream.bridge", "--connect", address, "--lsl")
    found = pylsl.resolve_byprop("name", "kinetoken demo/0 joints", timeout=PATIENCE)
    assert found, "the outlet was not found"
    inlet = pylsl.StreamInlet(found[0])
    samples: list[Any] = []
    times: list[float] = []
    deadline = time.monotonic() + PATIENCE
    while len(samples) < 40 and time.monotonic() < deadline:
        more, stamps = inlet.pull_chunk(timeout=0.2)
        samples += more
        times += stamps
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    assert found[0].channel_count() == 17 * 4
    assert found[0].nominal_srate() == 30
    assert len(samples) >= 40
    steps = [after - before for before, after in itertools.pairwise(times)]
    assert sorted(steps)[len(steps) // 2] == pytest.approx(1 / 30, abs=2e-3)
    assert abs(times[-1] - pylsl.local_clock()) < PATIENCE


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "nowhere to hand packets on to"),
        (["--osc", "localhost"], "expected HOST:PORT"),
        (["--nats", "nats://a", "--lsl"], "run a bridge of its own for each"),
        (["--nats", "nats://a?replicas=9"], "1 to 5"),
        (["--mqtt", "http://host"], "expected mqtt://"),
        (["--mqtt", "mqtt://host:99999"], "expected mqtt://"),
        (["--mqtt", "mqtt://host/a#b"], "expected mqtt://"),
    ],
)
def test_bad_flags_are_one_line(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bridge(*flags) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_an_mcap_file_that_exists_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.mcap").write_bytes(b"mine")
    assert bridge("--mcap", str(tmp_path / "a.mcap")) == 10
    assert (tmp_path / "a.mcap").read_bytes() == b"mine"
    assert "exists" in capsys.readouterr().err


def test_playout_spaces_the_frames_of_a_hop_and_joins_the_next() -> None:
    played: list[tuple[float, int]] = []

    def note(number: int) -> None:
        played.append((time.monotonic(), number))

    playout = Playout()
    for hop in range(2):
        playout.add("somebody", 200.0, [partial(note, 8 * hop + n) for n in range(8)])
    deadline = time.monotonic() + PATIENCE
    while len(played) < 16 and time.monotonic() < deadline:
        time.sleep(0.005)
    playout.close()
    assert [n for _, n in played] == list(range(16))
    assert played[-1][0] - played[0][0] >= 14.5 / 200  # never ahead of its time


def test_what_is_left_is_played_when_the_playout_closes() -> None:
    played: list[int] = []
    playout = Playout()
    playout.add("somebody", 0.001, [partial(played.append, n) for n in range(3)])
    playout.close()
    assert played == [0, 1, 2]


def test_a_producer_keeps_all_its_packets_at_brokers(launch: Start, tmp_path: Path) -> None:
    pytest.importorskip("nats")
    with NatsServers(tmp_path) as servers:
        address, brokers = f"ipc://{tmp_path}/socket", f"nats://{servers.hosts}"
        flags = ["--demo", "--dims", "3d", "--duration", "2", "--bind", address, "--nats", brokers]
        producer = launch("-m", "stream.producer", *flags)
        _, told = producer.communicate(timeout=PATIENCE)
        assert producer.returncode == 0, told
        with TokenStream(f"{brokers}?from=all", decode=True, once=True, timeout=PATIENCE) as stream:
            motions = list(stream.motions())
            assert stream.total.gaps == 0
        for track in (0, 1):
            seqs = [packet.seq for packet, _ in motions if packet.track == track]
            assert seqs == list(range(len(seqs)))
            assert len(seqs) >= 6
        assert f"packets {len(motions)}" in told


def test_a_bridge_to_brokers_that_never_come_says_what_lacks(demo: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("nats")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert bridge("--connect", demo, "--nats", f"nats://127.0.0.1:{port}") == 9
    told = capsys.readouterr().err
    assert told.count("is not there") == 1
    assert "packets did not reach" in told
