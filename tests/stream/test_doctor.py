"""The doctor: one line a check, what to do where something is wrong, and an exit code."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import zmq

from engine.command.cli import run
from stream import doctor
from stream.doctor import EXAMPLES, Config, Finding, check_cameras, check_keys, check_pose_model, main
from stream.pose.model_file import VARIABLE
from stream.wire.keyring import Keyring
from stream.wire.security import Security

ROOT = Path(__file__).resolve().parents[2]


def test_it_says_what_is_here_and_works(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stream.doctor", "--bind", f"ipc://{tmp_path}/socket"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert all(line.split()[0] in ("ok", "warn") for line in lines)
    for about in ("libraries: Python 3", "backend onnxruntime: ", "tokenizer heatmap2d-f8@", "tokenizer heatmap3d-f8@"):
        assert any(line.startswith(f"ok    {about}") for line in lines), about
    for about in ("pose model", "camera", "port", "keys"):
        assert any(line[6:].startswith(about) for line in lines), about
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_is_named_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "CAMERAS", 0)
    for slow in ("check_libraries", "check_backends", "check_tokenizers"):
        monkeypatch.setattr(doctor, slow, lambda: iter(()))
    model = tmp_path / "broken.task"
    model.write_bytes(b"no model")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        bind = f"tcp://127.0.0.1:{holder.getsockname()[1]}"
        argv = ["--bind", bind, "--pose-model", str(model), "--keys", str(tmp_path / "none")]
        assert run(main, Config, prog="doctor", examples=EXAMPLES, argv=argv) == 1
    out, err = capsys.readouterr()
    failed = [line for line in out.splitlines() if line.startswith("fail")]
    assert len(failed) == 3
    assert "is damaged or no pose model" in failed[0]
    assert failed[1].startswith("fail  port: ")
    assert "python -m stream.keys new NAME" in failed[2]
    assert err == "error: 3 checks failed: see the lines with fail\n"


def test_a_check_that_breaks_does_not_keep_the_others_from_looking(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken() -> None:
        raise RuntimeError("no such driver")

    for name in ("check_libraries", "check_backends", "check_tokenizers"):
        monkeypatch.setattr(doctor, name, broken)
    monkeypatch.setattr(doctor, "check_cameras", lambda: iter([Finding("ok", "camera 0", "there")]))
    assert run(main, Config, prog="doctor", examples=EXAMPLES, argv=["--bind", f"ipc://{tmp_path}/s"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "fail  libraries: unexpected: RuntimeError('no such driver'): please report it" in lines
    assert "ok    camera 0: there" in lines


def test_backends_that_fail_are_no_harm_while_one_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = list(doctor.check_backends())
    assert {finding.state for finding in findings} <= {"ok", "warn"}
    assert any(finding.about == "backend onnxruntime" and "ms a hop" in finding.told for finding in findings)

    def absent(name: str, backend: str) -> None:
        raise ImportError(f"no {backend}")

    monkeypatch.setattr(doctor, "open_encoder", absent)
    *_, last = doctor.check_backends()
    assert (last.state, last.about) == ("fail", "backend")


def test_the_pose_model_and_its_hash(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared / "models" / "pose_landmarker_full.task"
    (finding,) = check_pose_model(str(model))
    assert finding.state == "ok"
    assert f"{model}, sha256 " in finding.told
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("KINETOKEN_CACHE", str(tmp_path))
    (finding,) = check_pose_model(None)
    assert finding.state == "warn"
    assert "is not there yet: it is downloaded for the first 3D poses" in finding.told
    assert list(tmp_path.iterdir()) == []


def test_cameras_that_work_fail_or_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PROBE", "print('[0, null]'); print('[1, [640, 480]]')")
    assert list(check_cameras()) == [Finding("ok", "camera 1", "640 x 480: --camera 1")]
    hang = "import time; print('[0, [640, 480]]', flush=True); time.sleep(60)"
    monkeypatch.setattr(doctor, "_PROBE", hang)
    first, second = check_cameras(limit=2.0)
    assert first == Finding("warn", "camera", "camera 1 hangs: unplug it and plug it in again")
    assert second.about == "camera 0"


def test_keys(tmp_path: Path) -> None:
    if not zmq.has("curve"):
        pytest.skip("libzmq without CURVE")
    Keyring(tmp_path / "keys").create("studio")
    (finding,) = check_keys(str(tmp_path / "keys"))
    assert finding == Finding("ok", "keys", f"{tmp_path / 'keys'} holds studio; allowed: nobody")
    (tmp_path / "keys" / "studio.key_secret").chmod(0o644)
    findings = list(doctor._guarded("keys", lambda: check_keys(str(tmp_path / "keys"))))
    assert [finding.state for finding in findings] == ["fail"]


def test_other_addresses_need_keys() -> None:
    findings = list(doctor._guarded("port", lambda: doctor.check_port("tcp://0.0.0.0:*", Security("/nowhere"))))
    assert findings[0].state == "fail"
    assert "python -m stream.keys new" in findings[0].told
