"""What is shown while packets are missing: the forecast is no worse than simple ways on real motion."""

import json
from pathlib import Path

import pytest

from commands import call
from training import conceal as command


def test_the_forecast_holds_its_own(shared: Path, tmp_path: Path) -> None:
    file, data = tmp_path / "found.json", shared / "data" / "cmu_mocap" / "val"
    assert call(command, ["predictive2d-f8", "--data", str(data), "--every", "4", "--json", str(file)]) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    assert list(found)[-1] == "0.20 s ahead"
    assert "20% of packets lost" in found
    for errors in found.values():
        assert 1 < errors["forecast"] < 1.2 * min(errors["hold"], errors["velocity"])


def test_what_foretells_nothing_is_refused(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(shared / "data" / "cmu_mocap" / "val")
    assert call(command, ["heatmap2d-f8", "--data", data]) == 2
    assert "foretells nothing" in capsys.readouterr().err
