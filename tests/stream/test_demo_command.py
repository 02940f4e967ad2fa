"""The demo as a command: its picture, its flags, how it is stopped."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from processes import ROOT
from stream.demo import Config


@pytest.mark.parametrize(
    ("name", "message"), [("p.foo", "name a picture"), ("nowhere/p.png", "cannot be written"), ("folder", "name a")]
)
def test_a_picture_that_cannot_be_written_is_said_at_once(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match=f"--picture .*{message}"):
        Config(picture=name)
    assert Config().picture == "demo.png"


def test_it_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stream.demo", "--seconds", "60", "--picture", str(tmp_path / "demo.png")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        assert "joint error" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    assert not (tmp_path / "demo.png").exists()
