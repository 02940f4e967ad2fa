"""Stopping: at every stage a signal ends a command with its exit code, soon, and leaves no process behind."""

import json
import signal
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import zmq

from film_samples import write_film
from log_samples import packets_in
from processes import ROOT, Start
from stream.client import TokenStream
from stream.wire.packets import Goodbye, Packet
from wire_samples import next_packet

SIGNALS = [signal.SIGINT, signal.SIGTERM]
SOON = 15.0
"""Seconds within which a process must have ended, on a busy machine too; `tests.drills` holds it to two."""


def stop(process: subprocess.Popen[str], number: signal.Signals, times: int = 1) -> str:
    """Send a signal, check that it ends the process and its children with exit code 0; return what it said."""
    children = psutil.Process(process.pid).children(recursive=True)
    for _ in range(times):
        process.send_signal(number)
    _, err = process.communicate(timeout=SOON)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(children, timeout=SOON)
    assert not alive
    return err


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("after", [0.1, 0.6])
@pytest.mark.parametrize("module", ["producer", "subscriber"])
def test_while_it_imports(launch: Start, number: signal.Signals, after: float, module: str, tmp_path: Path) -> None:
    flag = ["--demo", "--bind"] if module == "producer" else ["--connect"]
    process = launch("-m", f"stream.{module}", *flag, f"ipc://{tmp_path}/socket")
    wait_until_handled(process, number)
    time.sleep(after)
    stop(process, number)


def wait_until_handled(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Wait until Python has begun with the command: before, a signal does what it does to any process."""
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        caught = next(
            line.split()[1]
            for line in Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
            if "SigCgt" in line
        )
        # Python itself catches SIGINT from the beginning: SIGTERM tells when we do.
        if int(caught, 16) >> (signal.SIGTERM - 1) & 1:
            return
    raise AssertionError("it never began")


HANG = """
import ctypes, sys, time
import stream.producer
from engine.command.cli import run

lock, mutex = ctypes.CDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(64)

def hang(*_, **__):
    print("loading", flush=True)
    {how}

stream.producer.open_encoder = hang
sys.exit(run(stream.producer.main, stream.producer.Config, prog="producer", examples=""))
"""


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("how", ["time.sleep(60)", "lock(mutex); lock(mutex)"], ids=["in Python", "in a library"])
def test_while_a_model_loads(launch: Start, number: signal.Signals, how: str, tmp_path: Path) -> None:
    process = launch("-c", HANG.format(how=how), "--demo", "--bind", f"ipc://{tmp_path}/socket")
    assert process.stdout is not None
    assert process.stdout.readline() == "loading\n"
    stop(process, number)


class _Never(socketserver.BaseRequestHandler):
    """A server that takes a request and never answers it."""

    asked = threading.Event()

    def handle(self) -> None:
        self.request.recv(1000)
        self.asked.set()
        self.request.recv(1000)


SWALLOWED = """
import os, signal, sys
from unittest.mock import MagicMock
import stream.producer
from engine.command.cli import run

class Library:
    def __del__(self):
        os.kill(os.getpid(), {number})
        sum(range(1000))  # the handler runs within

def load(*_, **__):
    Library()
    return MagicMock()

stream.producer.open_encoder = load
stream.producer.open_source = load
sys.exit(run(stream.producer.main, stream.producer.Config, prog="producer", examples=""))
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_where_no_exception_gets_out(launch: Start, number: signal.Signals, tmp_path: Path) -> None:
    process = launch("-c", SWALLOWED.format(number=int(number)), "--demo", "--bind", f"ipc://{tmp_path}/socket")
    assert process.communicate(timeout=SOON) == ("", "")
    assert process.returncode == 0


DOWNLOAD = """
import sys
import stream.pose.model_file, stream.pose.source
from stream.pose.model_file import find_pose_model
stream.pose.source.find_pose_model = lambda path: find_pose_model(path, url=sys.argv[1])
import stream.producer
from engine.command.cli import run
flags = sys.argv[2:]
sys.exit(run(stream.producer.main, stream.producer.Config, prog="producer", examples="", argv=flags))
"""


def test_while_the_pose_model_is_downloaded(launch: Start, tmp_path: Path) -> None:
    _Never.asked.clear()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Never) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/pose_landmarker_full.task"
        film = write_film(tmp_path / "film.mp4")
        flags = ["--video", str(film), "--pose", "mediapipe", "--bind", f"ipc://{tmp_path}/socket"]
        env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "KINETOKEN_POSE_MODEL": "", "no_proxy": "*"}
        process = launch("-c", DOWNLOAD, url, *flags, env=env)
        assert _Never.asked.wait(60), process.communicate()
        stop(process, signal.SIGTERM)
        server.shutdown()
    assert not list((tmp_path / "cache").rglob("*.part"))


@pytest.mark.parametrize("number", [*SIGNALS, signal.SIGHUP])
def test_while_it_waits_for_a_subscriber(launch: Start, number: signal.Signals, tmp_path: Path) -> None:
    process = launch("-m", "stream.producer", "--demo", "--bind", f"ipc://{tmp_path}/socket", "--wait", "60")
    assert process.stderr is not None
    while "tokenizer" not in (line := process.stderr.readline()):
        assert line
    assert "stopped after" in stop(process, number)


@pytest.mark.parametrize("number", [*SIGNALS, signal.SIGHUP])
@pytest.mark.parametrize("times", [1, 3])
def test_while_it_runs_the_last_packet_sent_is_the_last_one_logged(
    launch: Start, number: signal.Signals, times: int, tmp_path: Path
) -> None:
    address, logs = f"ipc://{tmp_path}/socket", [tmp_path / "producer.db", tmp_path / "reader.db"]
    with TokenStream(address) as stream:
        producer = launch("-m", "stream.producer", "--demo", "--bind", address, "--wait", "60", "--log", str(logs[0]))
        reader = launch("-m", "stream.subscriber", "--connect", address, "--log", str(logs[1]), "--json", "--once")
        packets: list[Packet] = []
        while len(packets) < 6:
            heard = stream.poll(60)
            assert heard is not None
            packets += [heard.message] if isinstance(heard.message, Packet) else []
        said = ""
        thread = threading.Thread(target=lambda: stop(producer, number, times))
        thread.start()
        goodbye = None
        while not isinstance(goodbye, Goodbye):
            heard = stream.poll(10)
            assert heard is not None
            goodbye = heard.message
        thread.join(SOON)
        assert producer.returncode == 0
        out, said = reader.communicate(timeout=30)
    assert reader.returncode == 0, said
    sent = dict(goodbye.last)
    for path in logs:
        last = {packet.track: packet.seq for packet in packets_in(path)}
        assert last == sent
    printed = [json.loads(line) for line in out.splitlines()]
    assert {packet["track"]: packet["seq"] for packet in printed} == sent


def test_under_nohup_it_outlives_its_terminal(launch: Start, tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/socket"
    flags = ["-m", "stream.producer", "--demo", "--bind", address, "--wait", "60"]
    code = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"
    )
    process = launch("-c", code, sys.executable, *flags)
    with TokenStream(address) as stream:
        next_packet(stream)
        process.send_signal(signal.SIGHUP)
        for _ in range(5):  # more than what was on its way
            next_packet(stream)
    stop(process, signal.SIGTERM)


def test_a_replay_that_drains_ends_when_asked(launch: Start, tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/socket"
    with zmq.Context() as context, context.socket(zmq.SUB) as stuck:
        stuck.set(zmq.RCVHWM, 1)
        stuck.set(zmq.LINGER, 0)
        stuck.subscribe(b"")
        stuck.connect(address)
        flags = ["--demo", "--rate", "max", "--duration", "25", "--max-persons", "8", "--wait", "60"]
        process = launch("-m", "stream.producer", *flags, "--bind", address)
        assert process.stderr is not None
        while "duration over" not in (line := process.stderr.readline()):
            assert line
        stop(process, signal.SIGTERM)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("json", [[], ["--json"]])
def test_a_full_disk_behind_standard_output_is_one_line(json: list[str], launch: Start, tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/socket"
    launch("-m", "stream.producer", "--demo", "--bind", address)
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "stream.subscriber", "--connect", address, *json],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
    assert done.returncode == 10
    assert done.stderr.count("error:") == 1
    assert "error: cannot write to standard output (No space left on device)" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
