"""Comparison side by side, bits against error, and the linear probe."""

import json
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import zstandard
from scipy.stats import entropy

from commands import call
from engine.spec import PRETRAINED
from motion_samples import Echo, people, sizes, write_shard
from stream.motion.skeleton import J
from training import compare, probe, ratedistortion
from training.evaluation import rate_distortion
from training.evaluation.roundtrip import run_clips
from training.evaluation.sets import figures
from training.evaluation.transform import STEPS


def test_the_same_tokenizer_twice_is_equal_and_figures_are_those_of_evaluate(tmp_path: Path) -> None:
    data = [write_shard(tmp_path / "walks.npz", ["walk", "walk"])]
    twice = compare.compare(["heatmap2d-f8", str(PRETRAINED / "heatmap2d-f8")], data, backend="onnxruntime")
    table = compare.rows(twice)
    (row,) = table.values()
    assert all(values[0] == values[1] for values in row.values())
    _, of, sets = twice[0]
    expected = figures(next(iter(sets.values())), of)
    assert {key: values[0] for key, values in row.items()} == expected
    assert "x 1.000" in compare.text(["a", "b"], table)


def test_the_better_one_is_marked_whichever_way_is_better() -> None:
    table = {"set": {"joint_error_cm": [2.0, 1.0, 4.0], "ssim": [0.8, 0.9, None], "perplexity": [1.0, 2.0, 3.0]}}
    text = compare.text(["a", "b", "c"], table)  # type: ignore[arg-type]
    assert "| joint_error_cm | 2 | 1 (x 0.500, better) | 4 (x 2.000) |" in text
    assert "| ssim | 0.8 | 0.9 (x 1.125, better) | - |" in text
    assert "| perplexity | 1 | 2 (x 2.000) | 3 (x 3.000) |" in text


def test_different_hops_are_compared_on_the_same_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = [write_shard(tmp_path / "walks.npz", ["walk"] * 3, frames=90)]
    hops = {"short": 4, "long": 32}
    monkeypatch.setattr(compare, "open_codec", lambda name, backend: (Echo(hops[name]), sizes(hop=hops[name])))
    found = compare.compare(["short", "long"], data)
    for tracks in zip(*(next(iter(sets.values())).result.tracks for _, _, sets in found), strict=True):
        assert len(tracks[0].truth) == 64
        np.testing.assert_array_equal(tracks[0].truth, tracks[1].truth)


def test_the_command_lines_of_comparison_and_rates_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_shard(tmp_path / "walks.npz", ["walk", "walk"])
    file, folder = tmp_path / "found.json", tmp_path / "figures"
    names = ["heatmap2d-f8", str(PRETRAINED / "heatmap2d-f8")]
    common = ["--data", str(data), "--json", str(file)]
    assert call(compare, [*names, *common, "--figures", str(folder), "--backend", "onnxruntime"]) == 0
    assert len(list(folder.glob("*-comparison.png"))) == 1
    assert json.loads(file.read_text(encoding="utf-8"))["tokenizers"] == names
    assert call(ratedistortion, ["heatmap2d-f8", *common, "--figure", str(tmp_path / "curve.png")]) == 0
    assert set(json.loads(file.read_text(encoding="utf-8"))) == {
        "tokens",
        "joints around the body, rounded",
        "joints in the room, rounded",
    }
    assert (tmp_path / "curve.png").stat().st_size > 10_000
    fit = write_shard(tmp_path / "others.npz", ["walk"] * 3)
    line = ["heatmap2d-f8", *common, "--fit", str(fit), "--figure", str(tmp_path / "line.png")]
    assert call(ratedistortion, line) == 0
    assert len(json.loads(file.read_text(encoding="utf-8"))["transform codec"]) == len(STEPS)
    assert (tmp_path / "line.png").stat().st_size > (tmp_path / "curve.png").stat().st_size
    assert "| heatmap2d-f8@" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "code", "arguments", "message"),
    [
        (compare, 2, ["heatmap2d-f8", "--data", "x.npz"], "two tokenizers or more"),
        (compare, 2, ["heatmap2d-f8", "heatmap3d-f8", "--data", "x.npz"], "cannot be compared"),
        (ratedistortion, 2, ["heatmap2d-f8", "--data", "nowhere"], "no npz recordings at nowhere"),
        (ratedistortion, 2, ["heatmap2d-f8", "heatmap3d-f8", "--data", "SHARD"], "compare 2D with 2D"),
        (ratedistortion, 2, ["heatmap2d-f8", "--data", "SHARD", "--fit", "SHARD"], "recordings that do not judge"),
        (probe, 2, ["heatmap2d-f8", "--data", "SHARD"], "nothing to tell apart"),
        (probe, 5, ["nothing", "--data", "SHARD"], "no tokenizer 'nothing'"),
    ],
)
def test_a_bad_command_line_is_one_clear_error(
    command: ModuleType,
    code: int,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shard = write_shard(tmp_path / "walks.npz", ["walk", "walk"])
    assert call(command, [str(shard) if word == "SHARD" else word for word in arguments]) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("room", [False, True])
def test_rounding_costs_what_an_independent_count_says(room: bool) -> None:
    tracks = run_clips(Echo(8), people(3), 2, 8).tracks
    point = rate_distortion.rounded(tracks, 32, room)
    seconds = sum(track.seconds for track in tracks)
    columns: list[list[int]] = [[] for _ in range(2 * J)]
    errors, first, packed = [], 0, 0
    for track in tracks:
        step = track.side.max() / 32
        middle = 0 if room else track.truth.mean(axis=1, keepdims=True, dtype=np.float64)
        whole = np.round((track.truth.astype(np.float64) - middle) / step).astype(int)
        errors += [np.linalg.norm(whole * step + middle - track.truth, axis=-1).ravel()]
        first += 2 * J * int(np.ceil(np.log2(whole.max() - whole.min() + 1)))
        for column, numbers in zip(columns, whole.reshape(len(whole), -1).T, strict=True):
            column += np.diff(numbers).tolist()
        changes = np.diff(whole.reshape(len(whole), -1), axis=0, prepend=0).T.astype("<i2").tobytes()
        packed += 8 * len(zstandard.ZstdCompressor(level=19).compress(changes))
    bits = sum(len(c) * entropy(np.unique(c, return_counts=True)[1], base=2) for c in columns)
    assert point.joint_error_cm == pytest.approx(np.concatenate(errors).mean())
    assert point.entropy == pytest.approx((bits + first) / seconds)
    assert point.zstd == pytest.approx(packed / seconds)
    assert point.bits > point.entropy


def test_finer_rounding_costs_more_and_loses_less() -> None:
    tracks = run_clips(Echo(8), people(3), 3, 8).tracks
    points = [rate_distortion.rounded(tracks, grid, room=False) for grid in (16, 64, 256)]
    for coarse, fine in pairwise(points):
        assert fine.joint_error_cm < 0.4 * coarse.joint_error_cm
        assert (fine.bits, fine.entropy, fine.zstd) > (coarse.bits, coarse.entropy, coarse.zstd)


def test_a_probe_tells_apart_what_differs_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    labels = np.array(["walk", "bow"] * 40)
    noise = rng.normal(size=(80, 6))
    telling = noise + (labels == "walk")[:, None] * 8
    assert probe.accuracy(telling, labels)[0] == 1
    assert 0.2 < probe.accuracy(noise, labels)[0] < 0.8


def test_the_probe_sees_how_often_ids_occur_and_how_joints_move(tmp_path: Path) -> None:
    (track,) = run_clips(Echo(8), people(1), 2, 8).tracks
    histogram = probe.histogram(track, 4)
    np.testing.assert_allclose(histogram, np.bincount(track.tokens.ravel(), minlength=4) / track.tokens.size)
    features = probe.joint_features(track)
    assert features.shape == (J * 2 * 3,)
    np.testing.assert_allclose(features[:2], track.keypoints[:, 0, :2].mean(axis=0), rtol=1e-5)
    contents = ["walk", "bow"] * 5 + ["rare"]
    data = write_shard(tmp_path / "shard.npz", contents)
    (row,) = probe.probe("heatmap2d-f8", [data], backend="onnxruntime").values()
    assert (row["recordings"], row["contents"], row["largest_share"]) == (10, 2, 0.5)
    assert 0 <= row["accuracy_tokens"] <= 1
