"""Training of predictive tokenizers: begun, resumed to the same weights, exported, and told what does not fit."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from commands import call
from engine.errors import TokenizerError
from engine.session import open_decoder, open_encoder
from training import export as export_command
from training import train as command
from training.predictive.config import PredictiveTrainConfig, load_config
from training.predictive.network import PredictiveNetwork, State
from training.predictive.run import train
from training.predictive.trainer import PredictiveRun, read_checkpoint, trained
from training.predictive.validation import look, read_sets
from training.predictive.windows import Batch, draw
from training_samples import write_recordings

TINY = """
kind: predictive
name: tiny
save_every: 2
validate_every: 4
model: {levels: 3, vocabulary: 8, rank: 8, width: 16, depth: 1, refine: 8}
data: {root: "%s", train: [{path: shards}], validate: [single], hops: 3, batch: 4}
optim: {steps: 4, rise_steps: 1, threads: 1}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> PredictiveTrainConfig:
    folder = tmp_path_factory.mktemp("predictive")
    (folder / "tiny.yaml").write_text(TINY % write_recordings(tmp_path_factory.mktemp("recordings")), encoding="utf-8")
    return load_config(folder / "tiny.yaml", [f"runs={folder / 'runs'}"])


@pytest.fixture(scope="module")
def run(config: PredictiveTrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    assert train(config, folder, resume=False)
    return folder


def test_a_resumed_run_ends_with_the_same_weights(run: Path, config: PredictiveTrainConfig, tmp_path: Path) -> None:
    half = PredictiveRun(config, tmp_path)
    half.begin()
    half.advance()
    half.advance()
    half.save()
    assert train(config, tmp_path, resume=True)
    whole, resumed = (read_checkpoint(folder / "checkpoint.pt") for folder in (run, tmp_path))
    assert resumed["step"] == 4
    for name, tensor in whole["kept"].items():
        torch.testing.assert_close(resumed["kept"][name], tensor, rtol=0, atol=0)


def test_it_learns(config: PredictiveTrainConfig, tmp_path: Path) -> None:
    longer = dataclasses.replace(config, optim=dataclasses.replace(config.optim, steps=60))
    run = PredictiveRun(longer, tmp_path)
    run.begin()
    sets = read_sets(config)
    begun = look(run.kept, sets)["single"]["joint_error_cm_3_ids"]
    for _ in range(60):
        run.advance()
    assert look(run.kept, sets)["single"]["joint_error_cm_3_ids"] < 0.98 * begun


def test_a_run_is_exported_from_the_command_line_and_its_graphs_stream(run: Path, tmp_path: Path) -> None:
    assert call(export_command, [str(run), "--out", str(tmp_path / "tiny")]) == 0
    card = (tmp_path / "tiny" / "README.md").read_text(encoding="utf-8")
    assert "up to 3 ids of 3 vocabularies of 8" in card
    assert "4 steps of 4 windows of 24 frames" in card
    encoder = open_encoder(tmp_path / "tiny", "onnxruntime")
    decoder = open_decoder(tmp_path / "tiny", "onnxruntime")
    x = np.full((2, 8, 17, 3), 0.5, np.float32)
    x[..., 2] = 1
    feeds = {"box": np.array([[100, 100, 150], [300, 100, 80]], np.float32)}
    rates = {"levels": np.array([3, 1], np.float32), "tolerance": np.zeros(2, np.float32)}
    live, back = encoder.init_state(2), decoder.init_state(2)
    for hop in range(3):
        reset = np.full(2, hop == 0)
        encoded, live = encoder.step(x, reset, live, **feeds, **rates)
        ids = encoded.tokens.reshape(2, 3)
        assert ((ids >= 0) == [[True] * 3, [True, False, False]]).all()
        decoded, back = decoder.step(encoded.tokens, reset, back, **feeds)
        assert decoded.joints is not None
        assert decoded.joints.shape == (2, 8, 17, 2)
        assert np.isfinite(decoded.joints).all()


def test_a_train_command_takes_the_kind_that_the_file_names(
    config: PredictiveTrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY % config.data.root, encoding="utf-8")
    runs = f"runs={tmp_path / 'runs'}"
    assert call(command, [str(file), runs, "optim.steps=1"]) == 0
    assert call(command, ["--resume", str(tmp_path / "runs" / "tiny"), "seed=7"]) == 2
    assert "seed=0, not 7" in capsys.readouterr().err
    assert call(command, [str(file), runs, "name=other", "--devices", "2"]) == 2
    assert "is trained in one process" in capsys.readouterr().err
    assert call(command, [str(file), runs, "name=other", "model.levels=0"]) == 2
    assert "model.levels must be 1 or more, not 0" in capsys.readouterr().err
    begun = f"start_from={tmp_path / 'runs' / 'tiny'}"
    assert call(command, [str(file), runs, "name=more", "optim.steps=1", begun]) == 0
    assert call(command, [str(file), runs, "name=wide", "model.width=24", begun]) == 5
    assert "is of another configuration" in capsys.readouterr().err


def test_damaged_checkpoints_are_named(config: PredictiveTrainConfig, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\x03\x04 not one")
    with pytest.raises(TokenizerError, match=r"checkpoint\.pt is damaged"):
        trained(tmp_path, config.model)


def rolled(network: PredictiveNetwork, batch: Batch, lost: int | None = None) -> list[torch.Tensor]:
    """Hops [B, V] as a reader decodes them, which loses one."""
    c = network.config
    state = back = State.fresh(len(batch.boxes), c)
    some = torch.full((len(batch.boxes),), float(c.levels))
    found = []
    for hop in range(batch.boxes.shape[1]):
        box = batch.boxes[:, hop]
        keypoints = torch.cat(
            [
                batch.target[:, hop, : c.coordinates].unflatten(1, (c.hop, 17, c.dims)),
                torch.ones(len(box), c.hop, 17, 1),
            ],
            dim=-1,
        )
        ids, _, state = network.encode_step(keypoints, box, some, torch.zeros_like(some), state)
        if hop == lost:
            ids, box = torch.full_like(ids, -1), back.box
        joints, _, back = network.decode_step(ids, box, back)
        found.append(joints)
    return found


@torch.no_grad()
def test_what_was_lost_is_forgotten(config: PredictiveTrainConfig, run: Path) -> None:
    long = dataclasses.replace(config, data=dataclasses.replace(config.data, hops=8))
    network, _ = trained(run, config.model)
    fresh = PredictiveRun(long, run)
    batch = draw(fresh.sampler, long, [0, 1])
    whole, lossy = rolled(network, batch), rolled(network, batch, lost=1)
    apart = [float((one - other).abs().mean()) for one, other in zip(whole, lossy, strict=True)]
    assert apart[0] == 0 < apart[1]
    # From the third hop on the anchor hears again what it should: the rest is the leak's.
    assert apart[7] < 0.1 * max(apart[1:4])


@torch.no_grad()
def test_any_first_ids_decode_and_none_is_the_forecast(run: Path, config: PredictiveTrainConfig) -> None:
    network, _ = trained(run, config.model)
    state, box = State.fresh(1, config.model), torch.tensor([[100.0, 100.0, 150.0]])
    ids = torch.tensor([[3, 1, 7]])
    for count in range(4):
        part = torch.where(torch.arange(3) < count, ids, -1)
        joints, confidence, _ = network.decode_step(part, box, state)
        assert bool(torch.isfinite(joints).all() & ((confidence >= 0) & (confidence <= 1)).all())
        if not count:
            forecast = network.predict(state, box).forecast
            torch.testing.assert_close(joints, network.joints_of(forecast)[0])
