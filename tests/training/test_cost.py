"""The cost of networks side by side: what is counted, what is compared, and that bad configurations are explained."""

import json
from pathlib import Path
from typing import Any

import pytest

from commands import call
from training import cost

WINDOWED = """
name: both-ways
model:
  {network: conv3d, causal: false, window: 16, outputs: joints, grid: 16, cells: 4, hop: 4, token_channels: 16,
   conv_channels: [8, 8, 16, 16], conv_blocks: 1}
"""
CAUSAL = """
name: causal
model: {grid: 16, cells: 4, hop: 4, frame_channels: 32, token_channels: 32, token_blocks: 1, joint_channels: 32}
"""


@pytest.fixture
def configs(tmp_path: Path) -> list[str]:
    files = {"windowed.yaml": WINDOWED, "causal.yaml": CAUSAL}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return [str(tmp_path / name) for name in files]


def test_a_window_seen_again_and_a_hop_alone(
    configs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cost, "GRIDS", (16, 32))
    monkeypatch.setattr(cost, "WINDOWS", (8, 16))
    figures, picture = tmp_path / "cost.json", tmp_path / "cost.png"
    assert call(cost, [*configs, "--seconds", "0", "--json", str(figures), "--plot", str(picture)]) == 0
    rows: list[dict[str, Any]] = json.loads(figures.read_text(encoding="utf-8"))["rows"]
    assert all(row["frame_ms"] == pytest.approx(row["ms"]["median"] / 4) for row in rows)
    window, *hops = [row for row in rows if (row["name"], row["grid"]) in (("both-ways", 16), ("causal", 16))][:4]
    assert (window["runs"], window["window"], window["less"]) == ("torch fp32", 16, 1)
    assert [row["runs"] for row in hops] == ["torch fp32", "onnxruntime fp32", "openvino fp32"]
    assert all(row["window"] == 4 for row in hops)
    assert window["gflop"] > 10 * hops[0]["gflop"]
    small = [row for row in rows if row["causal"] and row["grid"] == 16]
    drawn = [row for row in small if row["runs"].endswith("heatmaps in")]
    assert {row["kilobytes"] for row in drawn} == {17 * 4 * 16 * 16 * 4 / 1000}
    assert {row["kilobytes"] for row in small if row not in drawn} == {4 * 17 * 3 * 4 / 1000}
    assert len(drawn) >= 2
    both_ways = {(row["grid"], row["window"]): row["gflop"] for row in rows if not row["causal"]}
    assert both_ways.keys() == {(16, 8), (16, 16), (32, 8), (32, 16)}
    assert both_ways[16, 16] > 1.9 * both_ways[16, 8]  # the work grows with the window
    assert both_ways[32, 8] > 3.9 * both_ways[16, 8]
    assert picture.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "both-ways" in printed
    assert "cores: " in printed


def test_a_bad_configuration_is_one_clear_error(
    configs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text("model: {dims: 5}", encoding="utf-8")
    for bad, message in (
        (str(tmp_path / "bad.yaml"), "model.dims must be 2 or 3, not 5"),
        ("nothing.yaml", "nothing.yaml"),
    ):
        assert call(cost, [bad]) == 2
        assert message in capsys.readouterr().err
