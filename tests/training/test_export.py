"""Tokenizers of other strides, levels and windows: exported, run by the engines and by the live pipeline."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import TokenizerError
from engine.session import open_decoder, open_encoder
from engine.spec import TokenizerFiles
from stream.codec.encode import Pipeline
from stream.sources.base import PoseFrame
from stream.sources.demo import demo_pose
from training.export import export_network
from training.model.tokenizer import ModelConfig, TokenizerNetwork

SIZES: dict[str, Any] = {
    "dims": 3, "grid": 32, "hop": 4, "cells": 4, "basis": 4, "vocabulary": 32, "frame_channels": 32,
    "token_channels": 32, "joint_channels": 32, "frame_blocks": 1, "token_blocks": 1, "fsq_levels": [8, 4],
    "conv_channels": [8, 8, 8, 8, 16],
}  # fmt: skip

KINDS: dict[str, tuple[dict[str, Any], tuple[int, int, int, int], tuple[int, int, int]]] = {
    "low latency": ({}, (1, 1, 4, 4), (4, 8, 8)),
    "f16": ({"hop": 16, "cells": 2}, (1, 1, 2, 2), (16, 16, 16)),
    "two levels, by pixel": ({"levels": 2, "outputs": "joints"}, (2, 1, 4, 4), (4, 8, 8)),
    "fsq": ({"quantizer": "fsq", "inputs": "limbs"}, (1, 1, 4, 4), (4, 8, 8)),
    "dvae windowed": ({"quantizer": "gumbel", "causal": False, "window": 12}, (1, 3, 4, 4), (4, 8, 8)),
    "conv3d": (
        {"network": "conv3d", "causal": False, "window": 16, "hop": 8, "outputs": "joints"},
        (1, 2, 4, 4),
        (8, 8, 8),
    ),
}


def make(**keys: Any) -> TokenizerNetwork:
    """A network whose codebook has begun, from one batch of random motion."""
    torch.manual_seed(0)
    config = ModelConfig(**{**SIZES, **keys})
    network = TokenizerNetwork(config)
    points = torch.rand(4, 2 * config.packet, config.views * 17, config.dims + 1)
    points[..., -1] = 1
    for part in points.split(config.packet, dim=1):
        network(part)
    return network.eval()


def exported(kind: str, folder: Path) -> TokenizerFiles:
    return export_network(make(**KINDS[kind][0]), kind.replace(",", "").replace(" ", "-"), folder / "out")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_exported_and_runs_live(kind: str, tmp_path: Path) -> None:
    tokenizer = exported(kind, tmp_path)
    spec, (_, grid, strides) = tokenizer.spec, KINDS[kind]
    assert (spec.token_grid, spec.strides) == (grid, strides)
    assert spec.causal == (spec.encoder_states != {})
    pipeline = Pipeline(open_encoder(tokenizer, "onnxruntime"))
    decoder = open_decoder(tokenizer, "onnxruntime")
    state, frames = decoder.init_state(1), 3 * spec.hop
    hops = [
        hop
        for n in range(frames)
        for hop in pipeline.push(PoseFrame({7: demo_pose(0, n / 30)}, n / 30, n * 33_000_000))
    ]
    assert [hop.frame for hop in hops] == [0, spec.hop, 2 * spec.hop]
    for hop in hops:
        assert hop.ids.shape == grid
        assert hop.observed == 2**spec.hop - 1
        decoded, state = decoder.step(hop.ids[None].astype(np.int32), np.array([hop.reset]), state)
        assert decoded.joints.shape == (1, spec.hop, 17, spec.dims)
        assert np.isfinite(decoded.joints).all()


@pytest.mark.parametrize(
    ("keys", "form", "message"),
    [
        ({"outputs": "combined"}, "keypoints", "model.outputs=combined, which show no joints"),
        ({"dims": 2, "views": 3, "outputs": "joints"}, "keypoints", "model.views=3 cameras at once"),
        ({"inputs": "limbs"}, "heatmaps", "--input keypoints"),
        ({"causal": False, "window": 68}, "keypoints", "a packet of 68 frames is longer than 64"),
    ],
)
def test_what_cannot_run_live_is_refused(keys: dict[str, Any], form: Any, message: str, tmp_path: Path) -> None:
    network = TokenizerNetwork(ModelConfig(**{**SIZES, **keys}))
    with pytest.raises(TokenizerError, match=message):
        export_network(network, "unfit", tmp_path / "out", form)
    assert not (tmp_path / "out").exists()
