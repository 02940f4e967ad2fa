"""Priors: trained from the command line, sound on disk, and those that ship below the entropy of single ids."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from commands import call
from engine.errors import TokenizerError
from engine.prior import PRIORS, open_prior, prior_of
from engine.session import open_decoder, open_encoder
from engine.spec import TokenizerFiles, load_tokenizer, shipped
from stream.codec.rate import Rate
from training import prior as command
from training.data.dataset import read_clips
from training.evaluation.codecs import EngineCodec
from training.evaluation.metrics import token_metrics
from training.evaluation.prior_bits import bits_of
from training.evaluation.roundtrip import run_clips
from training.predictive.config import PredictiveConfig
from training.predictive.export import export_predictive
from training.predictive.network import PredictiveNetwork
from training.predictive.restore import restored
from training_samples import write_recordings

PREDICTIVE = [name for name in shipped() if load_tokenizer(name).spec.predictive]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TokenizerFiles:
    torch.manual_seed(0)
    network = PredictiveNetwork(PredictiveConfig(levels=3, vocabulary=16, rank=8, width=16, depth=1, refine=8))
    with torch.no_grad():
        network.codes.normal_()
        network.mean.fill_(0.5)
        network.basis[:8, :8] = torch.eye(8)
    return export_predictive(network, "small", tmp_path_factory.mktemp("tokenizers") / "small")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recordings(tmp_path_factory.mktemp("recordings")) / "shards"


@pytest.fixture(scope="module")
def prior(tokenizer: TokenizerFiles, recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("priors") / "small"
    words = [str(tokenizer.folder), "--data", str(recordings), "--out", str(out), "--steps", "12", "--batch", "4"]
    words += ["--hops", "3"]
    assert call(command, words) == 0
    return out


def test_a_tokenizer_gives_its_network_back(tokenizer: TokenizerFiles) -> None:
    network = restored(tokenizer)
    assert vars(network.config) == vars(PredictiveConfig(levels=3, vocabulary=16, rank=8, width=16, depth=1, refine=8))
    with pytest.raises(TokenizerError, match="heatmap2d-f8 is not predictive"):
        restored(load_tokenizer("heatmap2d-f8"))


def test_a_prior_knows_more_than_nothing(prior: Path, tokenizer: TokenizerFiles, recordings: Path) -> None:
    opened = open_prior(prior)
    assert opened.spec.tokenizer == tokenizer.spec.label
    codec = EngineCodec(open_encoder(tokenizer, "onnxruntime"), open_decoder(tokenizer, "onnxruntime"))
    result = run_clips(codec, read_clips(recordings), 2, 8)
    uniform = 4 * 3 * len(result.tokens)
    bits = bits_of(opened, result.tracks, 8)
    assert 0 < bits < 0.97 * uniform
    # Each level is a distribution, whatever went before.
    logits = opened.level(np.zeros((1, opened.spec.hidden), np.float32), np.full((1, 3), -1), 0)
    assert logits.shape == (1, 16)
    assert np.isfinite(logits).all()


def test_what_is_not_a_prior_is_named(prior: Path, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="is no prior"):
        open_prior(tmp_path)
    folder = Path(shutil.copytree(prior, tmp_path / "copy"))
    (folder / "model.safetensors").write_bytes(b"x")
    with pytest.raises(TokenizerError, match=r"model\.safetensors is missing or damaged"):
        open_prior(folder)
    with pytest.raises(TokenizerError, match="no prior for heatmap2d-f8@"):
        prior_of(load_tokenizer("heatmap2d-f8").spec.label)
    with pytest.raises(TokenizerError, match="the prior that ships is of predictive2d-f8@"):
        prior_of("predictive2d-f8@000000000000")


def test_a_command_that_cannot_work_says_why(
    tokenizer: TokenizerFiles, prior: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(tokenizer.folder), "--data", "nowhere", "--out"]
    assert call(command, [*words, str(prior)]) == 2
    assert "exists: remove it" in capsys.readouterr().err
    assert call(command, [*words, str(prior.with_name("new"))]) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("name", PREDICTIVE)
def test_a_shipped_prior_needs_far_fewer_bits_than_single_ids(shared: Path, name: str) -> None:
    assert (PRIORS / name).is_dir()
    spec = load_tokenizer(name).spec
    prior = prior_of(spec.label)
    codec = EngineCodec(open_encoder(name, "onnxruntime"), open_decoder(name, "onnxruntime"))
    clips = read_clips(shared / "data" / "cmu_mocap" / "val")[::5]
    for rate in (Rate(), Rate(levels=4)):
        result = run_clips(codec.at(rate), clips, spec.dims, spec.hop)
        single = token_metrics(result.tokens, spec.vocabulary, spec.fps / spec.hop)["bits_per_second_entropy"]
        assert bits_of(prior, result.tracks, spec.hop) / result.seconds < 0.85 * single
