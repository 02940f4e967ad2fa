"""Predictive tokenizers under evaluation: their rates, and levels that are left out."""

from pathlib import Path

import numpy as np
import pytest

from motion_samples import people
from predictive_samples import LEVELS, VOCABULARY, write_predictive
from stream.codec.inputs import levels_of
from stream.codec.rate import Rate
from training.evaluation.codecs import EngineCodec, open_codec
from training.evaluation.metrics import token_metrics
from training.evaluation.roundtrip import run_clips
from training.evaluation.sets import figures
from training.probe import histogram


def test_levels_and_quality_buy_a_smaller_error_with_more_bits(tmp_path: Path) -> None:
    codec, sizes = open_codec(write_predictive(tmp_path / "half-way").folder, "onnxruntime")
    assert isinstance(codec, EngineCodec)
    found = []
    for rate in (Rate(1), Rate(), Rate(quality=1000.0)):
        result = run_clips(codec.at(rate), people(2), 2, sizes.hop)
        said = figures(result, sizes)
        found.append((said["bits_per_second"], said["joint_error_cm"]))
        assert np.isfinite(histogram(result.tracks[0], VOCABULARY)).all()
    (one, worst), (all_levels, better), (none, guessed) = found
    assert (one, all_levels, none) == (15, LEVELS * 15, 0)
    assert better < worst < guessed
    some = run_clips(codec.at(Rate(quality=60.0)), people(2), 2, sizes.hop)
    assert 0 < levels_of(some.tokens).mean() < LEVELS
    with pytest.raises(ValueError, match="half-way has 3"):
        codec.at(Rate(4))


def test_levels_left_out_cost_nothing_but_their_number() -> None:
    tokens = np.array([[3, 1], [2, -1], [0, -1], [1, 1]])[:, :, None]
    found = token_metrics(tokens, 4, hops_per_second=2.0)
    assert found["tokens_per_second"] == 1.5 * 2
    assert found["bits_per_second"] == (1.5 * 2 + 2) * 2
    assert found["bits_per_second_entropy"] == (2 + 1) * 2
    assert found["vocabulary_used"] == (4 + 1) / 2
    with pytest.raises(ValueError, match=r"some ids in 0\.\.3"):
        token_metrics(np.full((2, 2, 1), -2), 4, 2.0)
