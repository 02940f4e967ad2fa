"""Hidden joints and wrong ids: what they cost is bounded."""

import json
from pathlib import Path

import pytest

from commands import call
from training import robustness as command


def test_errors_rise_with_what_is_hidden_and_stay_on_the_body(shared: Path, tmp_path: Path) -> None:
    file, data = tmp_path / "found.json", shared / "data" / "cmu_mocap" / "val"
    words = ["heatmap2d-f8", "predictive2d-f8", "--data", str(data), "--every", "6", "--json", str(file)]
    assert call(command, words) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    assert len(found) == 2
    for errors in found.values():
        plain, some, many, wrong = errors.values()
        assert plain < some < many < 30
        assert plain < wrong < 10


def test_recordings_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(command, ["heatmap2d-f8"]) == 2
    assert "--data: name recordings" in capsys.readouterr().err
