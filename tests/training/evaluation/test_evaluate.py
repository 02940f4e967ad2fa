"""Evaluation: what a perfect and a poor codec get, what is judged, and the command line."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from commands import call
from motion_samples import Echo, sizes, walk, write_npz
from panoptic_samples import pack, panoptic19, scene, write
from stream.motion.heatmap import draw
from stream.motion.panoptic import POSES
from stream.motion.skeleton import J
from stream.sources.demo import demo_pose
from training import evaluate
from training import evaluate as evaluation
from training.config import TrainConfig, load_config, save_config
from training.evaluation import progress
from training.evaluation.codecs import open_codec
from training.evaluation.network_codec import NetworkCodec
from training.evaluation.roundtrip import Result, combined, run_clip, run_clips, windows
from training.evaluation.sets import figures, names_of, run_sets, together
from training.run.folder import is_run
from training.run.trainer import Run

SMALL = [
    "name=small",
    "model.grid=32",
    "model.frame_channels=32",
    "model.token_channels=32",
    "model.joint_channels=32",
    "model.token_blocks=1",
    "model.vocabulary=64",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of npz files, one of them corrupt, and a Panoptic tar beside it."""
    root = tmp_path_factory.mktemp("data")
    (root / "npz").mkdir()
    for who in range(3):
        write_npz(root / "npz" / f"walk-{who}.npz", 70, who)
    (root / "npz" / "broken.npz").write_bytes(b"PK")
    frames = {n: scene((1, panoptic19(demo_pose(1, n / 29.97))), time=n * 1000 / 29.97) for n in range(40)}
    pack(write(root / "171204_pose5", dict(frames)), root / "171204_pose5.tar", lambda file: f"{POSES}/{file.name}")
    return root


def saved_run(folder: Path, changes: list[str]) -> TrainConfig:
    """A network that has seen one batch, saved as a run."""
    folder.mkdir()
    (folder / "file.yaml").write_text("name: small\n", encoding="utf-8")
    config = load_config(folder / "file.yaml", [*SMALL, *changes])
    run = Run(config, folder)
    model = config.model
    torch.manual_seed(0)
    x = torch.rand(8, 2 * model.hop if model.causal else model.window, J * model.views, model.dims + 1)
    run.network.train()
    run.network(x)  # the codebook starts from the first batch
    run.save()
    save_config(config, folder / "config.yaml")
    return config


def test_sets_of_the_same_name_keep_apart() -> None:
    paths = [Path("a/cmu/val"), Path("b/cmu/val"), Path("cmu/val")]
    assert names_of(paths[:1]) == ["cmu/val"]
    assert names_of(paths[:2]) == ["a/cmu/val", "b/cmu/val"]
    assert len(set(names_of(paths))) == 3
    with pytest.raises(ValueError, match="the same recordings are there twice"):
        names_of([paths[0], paths[0]])


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("hop", [4, 8, 16, 32])
def test_a_codec_that_loses_nothing_is_perfect(dims: int, hop: int) -> None:
    found = figures(run_clips(Echo(hop), [walk()], dims, hop), sizes(dims, hop))
    assert found["joint_error_cm"] == pytest.approx(0, abs=1e-3)
    assert found["pck"] == 1
    assert found["velocity_error_cm_s"] == pytest.approx(0, abs=0.05)
    assert found["ssim"] == pytest.approx(1, abs=1e-6)
    assert found["psnr"] > 100
    assert found["tokens_per_second"] == 30 / hop
    assert found["bits_per_second"] == 2 * 30 / hop
    assert found["seconds"] == 69 // hop * hop / 30


def test_a_known_error_is_found_in_every_unit() -> None:
    result = run_clips(Echo(8, off=0.04), [walk()], 2, 8)
    found = figures(result, sizes())
    (track,) = result.tracks
    assert found["joint_error_px"] == pytest.approx(0.04 * 32, rel=1e-3)
    assert found["joint_error_cm"] == pytest.approx(0.04 * track.side.mean(), rel=1e-3)
    assert found["pck"] == 1  # 0.04 of the box is less than 0.05
    assert figures(run_clips(Echo(8, off=0.06), [walk()], 2, 8), sizes())["pck"] == 0
    assert found["ssim"] < 0.95
    assert found["joint_error_median_cm"] <= found["joint_error_p95_cm"]


def test_joints_that_were_not_measured_are_not_judged() -> None:
    measured = np.ones((70, J), bool)
    measured[:, 9] = False
    clip = walk(measured=measured)
    clip.joints[:, 9] += 500
    (track,) = run_clips(Echo(8), [clip], 2, 8).tracks
    np.testing.assert_array_equal(track.known, measured[: len(track.known)])
    assert (track.keypoints[:, 9] == 0).all()
    spoiled = dataclasses.replace(track, decoded=np.where(measured[:64, :, None], track.decoded, 1e3))
    assert figures(Result([spoiled]), sizes())["joint_error_cm"] == pytest.approx(0, abs=1e-3)
    found = next(windows(track, 32, 2.0))
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)


def test_the_picture_of_a_body_is_the_maximum_of_its_heatmaps() -> None:
    (track,) = run_clips(Echo(8), [walk(20)], 3, 8).tracks
    drawn = draw(track.keypoints[None], 32, 2.0)[0].reshape(3, J, -1, 32, 32)
    np.testing.assert_allclose(combined(track.keypoints, 32, 2.0), drawn.max(axis=1), atol=1e-6)


def test_pictures_are_judged_in_windows_of_64_frames() -> None:
    lengths = [
        [len(a[0]) for a, _ in windows(run_clips(Echo(8), [walk(n)], 2, 8).tracks[0], 32, 2.0)] for n in (50, 200)
    ]
    assert lengths == [[48], [64, 64, 64]]


def test_all_sets_together_are_judged_as_one(data: Path) -> None:
    one, two = (data / "npz" / f"walk-{who}.npz" for who in (0, 1))
    sets = run_sets(Echo(8, off=0.01), sizes(), [one, two])
    assert list(sets) == ["npz/walk-0.npz", "npz/walk-1.npz"]
    rows = [figures(part, sizes()) for part in sets.values()]
    total = figures(together(sets), sizes())
    assert total["seconds"] == sum(row["seconds"] for row in rows)
    assert total["joint_error_cm"] == pytest.approx(np.mean([row["joint_error_cm"] for row in rows]), rel=1e-4)
    assert total["ssim"] == pytest.approx(np.mean([row["ssim"] for row in rows]))


@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["model.dims=3"],
        ["model.outputs=joints"],
        ["model.outputs=combined", "model.inputs=combined", "model.views=3"],
        ["model.causal=false", "model.window=16"],
    ],
    ids=["2d", "3d", "maps of joints", "three cameras", "windowed"],
)
def test_runs_of_every_kind_are_evaluated(changes: list[str], data: Path, tmp_path: Path) -> None:
    config = saved_run(tmp_path / "run", changes)
    assert is_run(tmp_path / "run")
    codec, of = open_codec(tmp_path / "run")
    assert isinstance(codec, NetworkCodec)
    assert (of.name, of.hop, of.views) == ("small", config.model.packet, config.model.views)
    (part,) = run_sets(codec, of, [data / "npz" / "walk-0.npz"]).values()
    found = figures(part, of)
    assert 0 <= found["ssim"] <= 1
    assert 0 < found["l1"] < 1
    assert ("joint_error_cm" in found) == config.model.has_joints
    assert found["tokens_per_second"] == 64 * 30 / 8
    # Encoding is by whole windows or streamed: the tokens of the start do not depend on what follows.
    (track,) = part.result.tracks
    again = run_clip(codec, walk(), of.dims, of.hop, np.random.default_rng(0), of.views)
    np.testing.assert_array_equal(again.tokens[0], track.tokens[0])


def test_a_damaged_run_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str], data: Path) -> None:
    saved_run(tmp_path / "run", [])
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"nothing")
    assert call(evaluate, [str(tmp_path / "run"), "--data", str(data / "npz")]) == 5
    assert "checkpoint.pt" in capsys.readouterr().err


def test_the_command_line_writes_figures_by_name_and_counts_what_it_left_out(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    arguments = ["heatmap3d-f8", "--backend", "onnxruntime", "--json", str(file)]
    assert call(evaluate, [*arguments, "--data", str(data / "npz"), str(data / "171204_pose5.tar")]) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    assert list(found)[-1] == "total"
    assert len(found) == 3
    for row in found.values():
        assert {
            "seconds", "joint_error_cm", "joint_error_median_cm", "joint_error_p95_cm", "joint_error_px", "pck",
            "velocity_error_cm_s", "jerk_error_m_s3", "ssim", "psnr", "l1", "t_std", "vocabulary_used", "perplexity",
            "tokens_per_second", "bits_per_second", "bits_per_second_entropy",
        } <= row.keys()  # fmt: skip
        assert row["joint_error_cm"] < 8
        assert 0.6 < row["ssim"] <= 1
    assert [row["files_left_out"] for row in found.values()] == [1, 0, 1]
    assert [row["recordings"] for row in found.values()] == [3, 1, 4]
    out = capsys.readouterr().out
    assert "left out 1 files that cannot be read" in out
    assert "broken.npz" in out


def test_a_long_loop_says_how_far_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(progress.shown([1, 2, 3], "counting")) == [1, 2, 3]
    assert capsys.readouterr().err == ""  # done before the first minute was over
    monkeypatch.setattr(progress, "EVERY", 0.0)
    clock = iter((0.0, 10.0, 20.0, 30.0))
    monkeypatch.setattr("training.evaluation.progress.time.monotonic", lambda: next(clock))
    assert list(progress.shown([1, 2, 3], "counting")) == [1, 2, 3]
    assert "counting: 1 of 3, 40 s left" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["heatmap2d-f8"], 2, "--data: name recordings"),
        (["heatmap2d-f8", "--data", "nowhere"], 2, "no npz recordings at nowhere"),
        (["no-such", "--data", "nowhere"], 5, "no tokenizer 'no-such'"),
        (["heatmap2d-f8", "--data", "nowhere", "--every", "0"], 2, "--every 0: at least 1"),
    ],
)
def test_a_bad_command_line_is_one_clear_error(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(evaluate, arguments) == code
    assert message in capsys.readouterr().err


def test_a_run_is_evaluated_on_what_it_was_validated_on(tmp_path: Path) -> None:
    config = saved_run(tmp_path / "run", ["data.root=somewhere", "data.validate=[a,b/c]"])
    assert config.data.validate == ["a", "b/c"]
    assert evaluation.validation_sets(tmp_path / "run") == [Path("somewhere/a"), Path("somewhere/b/c")]
