"""The files of deploy/: what systemd and a container runtime are told fits the program, and the service answers."""

import configparser
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.command.cli import parse
from engine.errors import EXIT_CODES
from stream.command.metrics import split_address
from stream.command.service import Service
from stream.producer import Config

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "kinetoken-producer.service"


def unit() -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes="#")
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(UNIT.read_text(encoding="utf-8").replace("\\\n", ""))
    return parsed


def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze here")
    copy = tmp_path / UNIT.name
    copy.write_text(
        UNIT.read_text(encoding="utf-8").replace("/opt/kinetoken/venv/bin/python", sys.executable), encoding="utf-8"
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_units_command_is_one_that_the_producer_takes() -> None:
    service = unit()["Service"]
    _, dash, module, *flags = shlex.split(service["ExecStart"].replace("${STATE_DIRECTORY}", "/var/lib/kinetoken"))
    assert (dash, module) == ("-m", "stream.producer")
    flags[flags.index("--config") + 1] = str(DEPLOY / "producer.yaml")
    config = parse(Config, flags, prog="producer")
    assert config.camera == (0,)
    assert config.log == "/var/lib/kinetoken/tokens.db"
    assert config.metrics is not None
    assert split_address(config.metrics)[0] == "127.0.0.1"
    assert config.log_format == "json"


def test_the_unit_lets_it_end_in_good_order_and_keeps_it_closed() -> None:
    service = unit()["Service"]
    assert (service["Type"], service["KillMode"], service["NotifyAccess"]) == ("notify", "mixed", "main")
    assert int(service["TimeoutStopSec"]) > 2
    assert {int(code) for code in service["RestartPreventExitStatus"].split()} < EXIT_CODES.keys()
    for name in ("DynamicUser", "NoNewPrivileges", "ProtectHome", "PrivateTmp", "RestrictSUIDSGID"):
        assert service[name] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""


def test_the_container_runs_without_root_and_checks_its_health() -> None:
    lines = (DEPLOY / "Containerfile").read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    last_stage = steps[max(i for i, (step, _) in enumerate(steps) if step == "FROM") :]
    told = dict(last_stage)
    assert told["FROM"] == "docker.io/library/python:3.12-slim"
    assert told["USER"] not in ("root", "0")
    for _, copied in (step for step in steps if step[0] == "COPY" and not step[1].startswith("--from")):
        assert all((ROOT / source).exists() for source in copied.split()[:-1])
    module, *flags = re.findall(r'"([^"]*)"', told["CMD"])
    assert module == "stream.producer"
    config = parse(Config, flags, prog="producer")
    assert config.metrics is not None
    assert f"http://{config.metrics}/health" in told["HEALTHCHECK"]
    assert told["EXPOSE"].split()[0] == config.bind.rpartition(":")[2]
    found = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"][
        "find"
    ]["include"]
    assert {pattern.rstrip("*") for pattern in found} == {"engine", "stream", "training"}


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd listens with."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.settimeout(60)
        yield ear


def test_the_producer_tells_systemd_that_it_is_ready_alive_and_stopping(manager: socket.socket, tmp_path: Path) -> None:
    watched = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    process = subprocess.Popen(
        [sys.executable, "-m", "stream.producer", "--demo", "--bind", f"ipc://{tmp_path}/socket"],
        cwd=ROOT,
        env=os.environ | watched,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    try:
        ready = manager.recv(4096).decode()
        assert ready.startswith("READY=1\nSTATUS=demo, 2 people")
        assert [manager.recv(4096) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        process.send_signal(signal.SIGTERM)
        while (said := manager.recv(4096)) == b"WATCHDOG=1":
            pass
        assert said == b"STOPPING=1"
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()


def test_no_systemd_no_harm(manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Service().ready("nobody listens")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    Service().ready("nobody listens")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    service = Service()
    service.beat()  # the watchdog is another process's
    service.stopping()
    assert manager.recv(100) == b"STOPPING=1"
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    service = Service()
    now = time.monotonic()
    monkeypatch.setattr("stream.command.service.time.monotonic", lambda: now)
    service.beat()
    service.beat()  # at half the interval: one is enough
    service.stopping()
    assert [manager.recv(100) for _ in range(2)] == [b"WATCHDOG=1", b"STOPPING=1"]
