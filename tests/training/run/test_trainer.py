"""Training: the same next loss after a resume, export and evaluation of a run, and errors that name the key."""

import dataclasses
import json
import locale
import os
import shutil
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from commands import call
from engine.errors import TokenizerError
from engine.session import open_decoder, open_encoder
from engine.spec import load_tokenizer
from training import train as command
from training.config import TrainConfig, load_config, save_config
from training.data.dataset import read_clips
from training.evaluate import evaluate
from training.evaluation.codecs import EngineCodec, open_codec
from training.evaluation.network_codec import JointCodec
from training.evaluation.roundtrip import run_clips
from training.evaluation.validation import look, read_sets
from training.export import export
from training.run.batches import BatchLoader, make_sampler
from training.run.checkpoint import build, load_network, load_trained, start_from
from training.run.throughput import flop_per_sample, peak
from training.run.trainer import Run, learning_rate, temperature
from training.train import train
from training_samples import ADVERSARY, SMALL, small_config, write_config, write_recordings


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recordings(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="module")
def config(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    return small_config(tmp_path_factory.mktemp("config") / "small.yaml", recordings, *ADVERSARY)


@pytest.fixture
def feed(config: TrainConfig) -> Iterator[BatchLoader]:
    feed = BatchLoader(make_sampler(config), config)
    yield feed
    feed.close()


def test_a_resumed_run_goes_on_to_the_same_losses_adversary_and_all(
    config: TrainConfig, feed: BatchLoader, tmp_path: Path
) -> None:
    run = Run(config, tmp_path)
    for _ in range(4):  # across the steps at which adversary and codebook are switched on
        run.advance(feed)
    run.save()
    expected = [run.advance(feed) for _ in range(3)]
    assert "adversary/hinge" in expected[0]
    again = Run(config, tmp_path)
    again.load()
    assert again.step == 4
    assert [again.advance(feed) for _ in range(3)] == expected


@pytest.mark.timeout(1200)  # the compiler itself takes a minute on a machine at rest
@pytest.mark.skipif(not shutil.which("g++"), reason="torch compiles for the CPU with g++, which is absent")
def test_a_compiled_network_takes_the_same_steps(config: TrainConfig, feed: BatchLoader, tmp_path: Path) -> None:
    if locale.getencoding().lower() != "utf-8":
        pytest.skip("torch reads sources of its own as the locale says, which fails")
    plain = dataclasses.replace(config, optim=dataclasses.replace(config.optim, bfloat16=False))
    compiled = dataclasses.replace(plain, optim=dataclasses.replace(plain.optim, compile=True))
    one, other = Run(plain, tmp_path), Run(compiled, tmp_path)
    for _ in range(5):  # across the step at which the codebook is switched on
        expected, seen = one.advance(feed), other.advance(feed)
        assert float(seen["heatmap"]) == pytest.approx(float(expected["heatmap"]), rel=1e-3)
    other.save()
    again = Run(plain, tmp_path)
    again.load()
    assert again.step == 5


def test_ctrl_c_ends_the_step_and_a_resumed_run_ends_as_if_nothing_had_been(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(config, tmp_path / "whole", resume=False)
    advance = Run.advance

    def interrupted(run: Run, feed: BatchLoader) -> dict[str, torch.Tensor]:
        if run.step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return advance(run, feed)

    monkeypatch.setattr(Run, "advance", interrupted)
    assert not train(config, tmp_path / "stopped", resume=False)
    assert "stopped at step 5; continue with python -m training.train --resume" in capsys.readouterr().out
    monkeypatch.undo()
    assert train(config, tmp_path / "stopped", resume=True)
    whole, resumed = (torch.load(tmp_path / name / "checkpoint.pt") for name in ("whole", "stopped"))
    for name, tensor in whole["network"].items():
        torch.testing.assert_close(resumed["network"][name], tensor, rtol=0, atol=0)
    for name, tensor in whole["adversary"]["network"].items():
        torch.testing.assert_close(resumed["adversary"]["network"][name], tensor, rtol=0, atol=0)


def test_a_resumed_run_keeps_its_configuration(
    config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(dataclasses.replace(config, optim=dataclasses.replace(config.optim, steps=4)), run, resume=False)
    kept = (run / "config.yaml").read_text(encoding="utf-8")
    assert call(command, ["seed=5", "losses.joint=9", "--resume", str(run)]) == 2
    assert "seed=0, not 5, losses.joint=1.0, not 9.0. Continue unchanged with --resume" in capsys.readouterr().err
    # The configuration alone says 4000 steps and all the sizes of a real network.
    assert call(command, ["heatmap2d-f8", "--resume", str(run)]) == 2
    assert (run / "config.yaml").read_text(encoding="utf-8") == kept
    assert call(command, ["optim.steps=6", "save_every=1", "--resume", str(run)]) == 0
    assert load_trained(run)[1] == 6


def test_before_its_codebook_begins_a_run_is_looked_at_and_not_judged(
    config: TrainConfig, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    optim = dataclasses.replace(config.optim, steps=6, plain_steps=5)
    early = dataclasses.replace(config, optim=optim, validate_every=2)
    run = Run(early, tmp_path / "run")
    feed = BatchLoader(make_sampler(early), early)
    run.advance(feed)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    assert look(run.network, read_sets(early))["single"]["vocabulary_used"] == 1
    for name, value in run.network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    (tmp_path / "run").mkdir()
    run.save()
    save_config(early, tmp_path / "run" / "config.yaml")
    for what in (lambda: open_codec(tmp_path / "run"), lambda: export(tmp_path / "run", tmp_path / "out")):
        with pytest.raises(TokenizerError, match="before its codebook was initialised; resume with python"):
            what()
    # What it has learnt can be begun with; its codebook, which knows nothing, cannot.
    other = build(config)
    start_from(other, str(tmp_path / "run"))
    assert not other.has_codebook
    for _ in range(5):
        run.advance(feed)
    feed.close()
    assert run.network.has_codebook


def test_a_recording_too_short_to_look_at_is_said_before_the_first_step(config: TrainConfig, tmp_path: Path) -> None:
    for name, frames in (("a", 3), ("b", 90)):
        np.savez(tmp_path / f"{name}.npz", joints=np.random.default_rng(0).normal(0, 30, (frames, 19, 3)), fps=30)
    data = dataclasses.replace(config.data, validate=[str(tmp_path)])
    (clips,) = read_sets(dataclasses.replace(config, data=data)).values()
    assert [clip.name for clip in clips] == ["b"]
    (tmp_path / "b.npz").unlink()
    with pytest.raises(ValueError, match="as long as one hop"):
        train(dataclasses.replace(config, data=data), tmp_path / "run", resume=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["optim.plain_steps=8"], "optim.plain_steps must be 0 to below optim.steps=8"),
        (["model.hop=0"], "model.hop must be 1 or more"),
        (["model.cells=0"], "model.cells"),
        (["model.token_channels=100"], "model.token_channels must be a multiple of 32"),
        (["data.hops=0"], "data.hops must be 1 or more"),
        (["data.batch=0"], "data.batch must be 1 or more"),
        (["data.workers=-1"], "data.workers must be 0 or more"),
        (["data.train.0.path=x"], "lists are given whole"),
    ],
)
def test_values_that_make_no_sense_are_named(
    config: TrainConfig, changes: list[str], message: str, tmp_path: Path
) -> None:
    save_config(config, tmp_path / "small.yaml")
    with pytest.raises(ValueError, match=message):
        load_config(tmp_path / "small.yaml", changes)


def test_a_file_that_is_no_configuration_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yaml").write_text("model: {hop: [8", encoding="utf-8")
    for file, message in ((tmp_path / "bad.yaml", "is not valid YAML"), (tmp_path, "is a folder: name a YAML file")):
        assert call(command, [str(file)]) == 2
        assert message in capsys.readouterr().err
    assert call(command, []) == 2
    assert "name a configuration" in capsys.readouterr().err


def test_a_run_keeps_its_log_data_and_code_and_moving_pictures(config: TrainConfig, tmp_path: Path) -> None:
    train(config, tmp_path / "run", resume=False)
    entries = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    terms = next(entry for entry in entries if "heatmap" in entry)
    assert terms["step"] == 8
    assert terms["samples_per_second"] > 0
    assert 0 <= terms["share_waiting"] <= 1
    assert 0 < terms["share_of_peak"] < 1
    assert entries[0]["unseen"]["single"]["joint_error_cm"] > 0
    (start,) = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert start["seed"] == 0
    assert start["data"]["shards"]["files"] == 1
    assert len(start["data"]["shards"]["sha256"]) == 64
    (board,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert b"GIF89a" in board.read_bytes()
    assert load_config(tmp_path / "run" / "config.yaml", []) == config


def test_the_loss_falls(config: TrainConfig, feed: BatchLoader, tmp_path: Path) -> None:
    optim = dataclasses.replace(config.optim, steps=80, plain_steps=80, rate=5e-3)
    adversary = dataclasses.replace(config.adversary, weight=0.0)
    run = Run(dataclasses.replace(config, optim=optim, adversary=adversary), tmp_path)
    losses = [float(run.advance(feed)["joint"]) for _ in range(60)]
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])


def test_a_run_is_exported_and_evaluated(config: TrainConfig, recordings: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(config, run, resume=False)
    tokenizer = export(run, tmp_path / "small")
    spec = load_tokenizer(tmp_path / "small").spec
    assert spec.name == "small"
    card = tmp_path / "small" / "README.md"
    text = card.read_text(encoding="utf-8")
    for said in (spec.label, "16 tokens of a vocabulary of 16", "8 steps of 2 windows of 8 frames, seed 0"):
        assert said in text
    (start,) = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert all(found["sha256"] in text for found in start["data"].values())
    card.write_text("by its maker", encoding="utf-8")
    export(run, tmp_path / "small")
    assert card.read_text(encoding="utf-8") == "by its maker"
    found = evaluate(str(tmp_path / "small"), [recordings / "single", recordings / "shards"], "onnxruntime")
    assert len(found) == 2
    for row in found.values():
        assert row["joint_error_cm"] > 0
        assert row["tokens_per_second"] == 16 * 30 / 4
        assert row["bits_per_second"] == 4 * 16 * 30 / 4
    # The exported engine loses as much as the network that it was made from.
    clips = read_clips(recordings / "shards")
    of_torch = run_clips(JointCodec(load_network(run)), clips, 2, 4)
    codec = EngineCodec(open_encoder(tokenizer, "onnxruntime"), open_decoder(tokenizer, "onnxruntime"))
    of_engine = run_clips(codec, clips, 2, 4)
    np.testing.assert_allclose(of_engine.errors_cm.mean(), of_torch.errors_cm.mean(), rtol=0.02)


def test_batches_depend_on_seed_step_and_process_only(config: TrainConfig) -> None:
    sampler = make_sampler(config)
    busier = dataclasses.replace(config, data=dataclasses.replace(config.data, workers=3))
    feeds = [BatchLoader(sampler, config), BatchLoader(sampler, busier)]
    other = BatchLoader(sampler, config, process=1)
    for step in (0, 1, 5, 2):
        one, same = (feed.take(step) for feed in feeds)
        torch.testing.assert_close(one, same, rtol=0, atol=0)
        assert not torch.equal(one[0], other.take(step)[0])
    for feed in (*feeds, other):
        feed.close()


def test_rates_rise_and_fall_and_the_temperature_falls(config: TrainConfig) -> None:
    optim = dataclasses.replace(config.optim, steps=100, rise_steps=10, rate=1.0, last_rate=0.1)
    rates = [learning_rate(step, optim) for step in range(101)]
    assert rates[0] == 0.1
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[100] == pytest.approx(0.1)
    warmth = [temperature(step, optim) for step in range(101)]
    assert warmth[0] == 1.0
    assert warmth[75] == warmth[100] == pytest.approx(0.0625)
    assert all(a >= b for a, b in pairwise(warmth))


def test_a_file_stands_on_its_bases(tmp_path: Path, recordings: Path) -> None:
    write_config(tmp_path / "small.yaml", recordings)
    (tmp_path / "more.yaml").write_text(
        "base: small.yaml\nmodel: {vocabulary: 32, grid: 32}\noptim: {steps: 5, plain_steps: 1}\n", encoding="utf-8"
    )
    (tmp_path / "other.yaml").write_text("seed: 7\n", encoding="utf-8")
    (tmp_path / "top.yaml").write_text("base: [more.yaml, other.yaml]\nmodel: {vocabulary: 64}\n", encoding="utf-8")
    config = load_config(tmp_path / "top.yaml", ["optim.steps=6"])
    assert (config.name, config.seed, config.model.vocabulary, config.model.grid) == ("small", 7, 64, 32)
    assert config.optim.steps == 6
    (tmp_path / "small.yaml").write_text("base: top.yaml\n", encoding="utf-8")
    with pytest.raises(ValueError, match="is its own base"):
        load_config(tmp_path / "top.yaml", [])


def test_every_configuration_that_ships_is_sound() -> None:
    root = Path(__file__).parents[3] / "configs"
    files = [file for file in root.rglob("*.yaml") if "tables:" not in file.read_text(encoding="utf-8")]
    assert len(files) > 25
    for file in files:
        command.load(file, [])
        if file.parent.name == "ablations":
            lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
            assert len(lines) <= 5, file


def test_a_damaged_or_foreign_checkpoint_is_one_clear_error(config: TrainConfig, tmp_path: Path) -> None:
    run = Run(config, tmp_path)
    run.save()
    wider = dataclasses.replace(config, model=dataclasses.replace(config.model, frame_channels=64))
    with pytest.raises(TokenizerError, match="of another configuration"):
        Run(wider, tmp_path).load()
    run.checkpoint.write_bytes(run.checkpoint.read_bytes()[:1000])
    with pytest.raises(TokenizerError, match="is damaged"):
        run.load()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.yaml"], "nothing.yaml"),
        (["heatmap2d-f8", "model.cels=9"], "cels"),
        (["heatmap2d-f8", "optim.steps=many"], "steps"),
        (["heatmap2d-f8", "model.quantizer=pq"], "quantizer"),
        (["heatmap2d-f8", "model.cells=7"], r"model.cells 7 must divide model.grid 64"),
        (["heatmap2d-f8", "model.network=conv3d"], "model.causal=false"),
        (["heatmap2d-f8", "data.root=nowhere"], "nowhere"),
        (["heatmap2d-f8", "--resume", "nowhere"], "no run to resume in nowhere"),
        (["heatmap2d-f8", "--devices", "0"], "--devices 0: at least 1"),
    ],
)
def test_a_bad_command_line_is_one_clear_error(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(command, [*arguments, f"runs={tmp_path}"]) == 2
    assert message in capsys.readouterr().err


def test_the_command_trains_and_refuses_to_train_over_a_run(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_config(tmp_path / "small.yaml", recordings)
    assert call(command, [str(file), *SMALL, "--precision", "fp32"]) == 0
    assert not load_config(tmp_path / "runs" / "small" / "config.yaml", []).optim.bfloat16
    assert call(command, [str(file), *SMALL]) == 2
    assert "already holds a run" in capsys.readouterr().err


def test_the_arithmetic_of_a_window_is_that_of_its_products(config: TrainConfig) -> None:
    cpu = torch.device("cpu")
    once = flop_per_sample(config, cpu)
    twice = flop_per_sample(dataclasses.replace(config, data=dataclasses.replace(config.data, hops=4)), cpu)
    assert twice == 2 * once  # causal: a longer window is more of the same
    assert peak(cpu, torch.float32) > 1e9
