"""Training: the same next loss after a resume, export and evaluation of a run, and errors that name the key."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from engine.session import open_decoder, open_encoder
from engine.spec import load_tokenizer
from stream.motion.skeleton import FROM_PANOPTIC19, J
from stream.sources.demo import demo_pose
from training.config import TrainConfig, load_config
from training.data.recordings import read_clips
from training.data.windows import AugmentConfig, WindowSampler
from training.evaluate import EngineCodec, evaluate
from training.export import export
from training.roundtrip import run_clips
from training.train import Run, TorchCodec, main, train

SMALL = [
    "model.grid=32",
    "model.frame_channels=32",
    "model.token_channels=32",
    "model.joint_channels=32",
    "model.token_blocks=1",
    "data.hops=2",
    "data.batch=4",
    "optim.plain_steps=3",
    "optim.threads=0",
    "optim.rise_steps=2",
    "save_every=4",
    "validate_every=6",
    "optim.steps=8",
]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the demo's motion in the two forms of npz files."""
    root = tmp_path_factory.mktemp("recordings")
    clips = []
    for person in range(4):
        joints = np.zeros((240, 19, 3), np.float32)
        for n in range(240):
            joints[n, FROM_PANOPTIC19] = demo_pose(person, n / 60).joints
        clips.append(joints)
    (root / "single").mkdir()
    np.savez(root / "single" / "walk.npz", joints=clips[0], fps=60)
    (root / "shards").mkdir()
    offsets = np.arange(4) * 240
    names = np.array(["a", "b", "c"])
    np.savez(root / "shards" / "shard_00.npz", joints=np.concatenate(clips[1:]), fps=60, offsets=offsets, names=names)
    return root


@pytest.fixture(scope="module")
def config(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    file = tmp_path_factory.mktemp("config") / "small.yaml"
    file.write_text(
        f"name: small\ndata:\n  root: {recordings}\n"
        "  train: [{path: single, share: 0.5}, {path: shards, share: 0.5}]\n  validate: [single]\n"
    )
    return load_config(file, SMALL)


def sampler(config: TrainConfig, recordings: Path) -> WindowSampler:
    groups = [read_clips(recordings / "single"), read_clips(recordings / "shards")]
    return WindowSampler(groups, [0.5, 0.5], config.model.dims, config.model.hop, config.data.hops)


def test_recordings_are_read_in_both_forms(recordings: Path) -> None:
    (walk,) = read_clips(recordings / "single")
    assert (walk.name, walk.fps, walk.joints.shape) == ("walk", 60, (240, J, 3))
    np.testing.assert_allclose(walk.joints[7], demo_pose(0, 7 / 60).joints, atol=1e-4)
    assert [clip.name for clip in read_clips(recordings / "shards")] == ["a", "b", "c"]
    with pytest.raises(FileNotFoundError, match="no npz recordings"):
        read_clips(recordings / "nothing")


def test_windows_are_reproducible_and_inside_their_boxes(config: TrainConfig, recordings: Path) -> None:
    for dims in (2, 3):
        groups = [read_clips(recordings / "shards")]
        draw = WindowSampler(groups, [1.0], dims, hop=8, hops=3, augment=AugmentConfig(noise=0.0))
        one, same = (draw.draw(np.random.default_rng(5), 16) for _ in range(2))
        np.testing.assert_array_equal(one.keypoints, same.keypoints)
        assert one.keypoints.shape == (16, 24, J, dims + 1)
        seen = one.keypoints[..., -1] == 1
        np.testing.assert_allclose(one.keypoints[..., :-1][seen], one.truth[seen], atol=1e-5)
        assert 0.5 < seen.mean() < 1


def test_a_resumed_run_goes_on_to_the_same_losses(config: TrainConfig, recordings: Path, tmp_path: Path) -> None:
    draw = sampler(config, recordings)
    tmp_path.joinpath("run").mkdir()
    run = Run(config, tmp_path / "run")
    for _ in range(5):  # across the step at which the codebook is switched on
        run.advance(draw)
    run.save()
    expected = [run.advance(draw) for _ in range(3)]
    again = Run(config, tmp_path / "run")
    again.load()
    assert again.step == 5
    assert [again.advance(draw) for _ in range(3)] == expected


def test_the_loss_falls(config: TrainConfig, recordings: Path, tmp_path: Path) -> None:
    longer = dataclasses.replace(config, optim=dataclasses.replace(config.optim, steps=60, plain_steps=60, rate=3e-3))
    run = Run(longer, tmp_path)
    draw = sampler(config, recordings)
    losses = [run.advance(draw)["joint"] for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])


def test_a_run_is_exported_and_evaluated(config: TrainConfig, recordings: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(config, run, resume=False)
    tokenizer = export(run, tmp_path / "small")
    assert load_tokenizer(tmp_path / "small").spec.name == "small"
    found = evaluate(str(tmp_path / "small"), [recordings / "single", recordings / "shards"], "onnxruntime")
    assert len(found) == 2
    for row in found.values():
        assert row["joint_error_cm"] > 0
        assert row["tokens_per_second"] == 64 * 30 / 8
        assert row["bits_per_second"] == 9 * 64 * 30 / 8
        assert 1 <= row["perplexity"] <= row["vocabulary_used"] <= 512
        assert row["bits_per_second_entropy"] <= row["bits_per_second"]
    # The exported engine loses as much as the network that it was made from.
    network = Run(config, run)
    network.load()
    network.network.eval()
    clips = read_clips(recordings / "shards")
    torch_result = run_clips(TorchCodec(network.network), clips, 2, 8)
    codec = EngineCodec(open_encoder(tokenizer, "onnxruntime"), open_decoder(tokenizer, "onnxruntime"))
    engine_result = run_clips(codec, clips, 2, 8)
    np.testing.assert_allclose(engine_result.errors_cm.mean(), torch_result.errors_cm.mean(), rtol=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.yaml"], "nothing.yaml"),
        (["configs/heatmap2d-f8.yaml", "model.cels=9"], "cels"),
        (["configs/heatmap2d-f8.yaml", "optim.steps=many"], "steps"),
        (["configs/heatmap2d-f8.yaml", "data.root=nowhere"], "no npz recordings at nowhere"),
        (["configs/heatmap2d-f8.yaml", "--resume", "nowhere"], "no run to resume in nowhere"),
    ],
)
def test_a_bad_command_line_is_one_clear_error(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*arguments, f"runs={tmp_path}"])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
