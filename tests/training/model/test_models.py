"""The networks of every kind: shapes, what they draw, what they round to, and that the weights that ship still fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from engine.spec import PRETRAINED, shipped
from stream.motion.heatmap import draw
from stream.motion.skeleton import BONES, J
from training.config import load_config
from training.exporting.weights import SCALE
from training.model.conv3d import WindowedDecoder, WindowedEncoder
from training.model.heatmaps import draw_maps, joints_of_maps
from training.model.losses import LossConfig, total_loss, true_maps
from training.model.quantizers import GumbelSampling, ResidualLookup
from training.model.streaming import State
from training.model.tokenizer import ModelConfig, Reconstruction, TokenizerNetwork
from training.predictive.config import is_predictive
from training.predictive.config import load_config as load_predictive
from training.predictive.network import PredictiveNetwork

CONFIGS = Path(__file__).parents[3] / "configs"

SIZES: dict[str, Any] = {
    "grid": 16, "hop": 4, "cells": 4, "basis": 8, "vocabulary": 16, "frame_channels": 32, "token_channels": 32,
    "joint_channels": 32, "frame_blocks": 1, "token_blocks": 1, "fsq_levels": [4, 4], "conv_channels": [8, 8, 8, 16],
}  # fmt: skip

WINDOWED = {"causal": False, "window": 8}
CONV3D = {"network": "conv3d", "outputs": "joints", **WINDOWED}
LIMBS = {"inputs": "limbs", "outputs": "limbs"}
COMBINED = {"inputs": "combined", "outputs": "combined"}

KINDS: dict[str, dict[str, Any]] = {
    "2d": {},
    "3d": {"dims": 3},
    "dense": {"outputs": "joints"},
    "dense 3d": {"outputs": "joints", "dims": 3},
    "limbs": LIMBS,
    "c2d": {"outputs": "combined"},
    "m2d": {**COMBINED, "views": 3},
    "projections": {**COMBINED, "dims": 3},
    "windowed": WINDOWED,
    "windowed dense": {**WINDOWED, "outputs": "joints"},
    "conv3d": CONV3D,
    "conv3d projections": {**CONV3D, **COMBINED, "dims": 3},
    "fsq": {"quantizer": "fsq"},
    "dvae": {"quantizer": "gumbel"},
    "residual": {"levels": 2},
    "reduced time": {"hop": 4, "cells": 2},
}


def make(**keys: Any) -> ModelConfig:
    config = ModelConfig(**{**SIZES, **keys})
    config.check()
    return config


def keypoints(config: ModelConfig, frames: int = 8, batch: int = 2, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    points = rng.uniform(0.1, 0.9, (batch, frames, config.views * J, config.dims + 1)).astype(np.float32)
    points[..., -1] = points[..., -1] > 0.2
    return torch.from_numpy(points)


def trained_a_little(config: ModelConfig) -> TokenizerNetwork:
    """A network whose codebook has begun, from one batch."""
    torch.manual_seed(0)
    network = TokenizerNetwork(config)
    network(keypoints(config, batch=8))
    return network.eval()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_learns_draws_and_takes_live_steps(kind: dict[str, Any]) -> None:
    config = make(**kind)
    network = trained_a_little(config)
    points = keypoints(config)
    network.train()
    for quantize in (False, True):
        out = network(points, quantize=quantize)
        loss, terms = total_loss(out, points, points[..., :-1], config, LossConfig())
        loss.backward()
        assert torch.isfinite(loss)
        assert all(p.grad is not None for name, p in network.named_parameters() if quantize or "codes" not in name)
    network.eval()
    out = network(points)
    assert out.heatmaps(config.sigma).shape == draw_maps(points, config.outputs, config).shape
    assert out.tokens.shape == (2, 8 // config.hop, config.places, config.levels)
    assert 0 <= out.tokens.min() <= out.tokens.max() < config.vocabulary
    assert ("joint" in terms) == config.has_joints == (out.joints is not None)

    def zeros(states: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
        return {path: torch.zeros(2, *shape) for path, shape in states.items()}

    tokens, latent, _ = network.encode_step(points[:, : config.packet], torch.zeros(2), zeros(network.encoder.states))
    assert latent.shape[:-1] == tokens.shape
    assert (tokens == out.tokens[:, : config.steps]).float().mean() > 0.98
    if out.joints is None:
        with pytest.raises(ValueError, match="show no joints"):
            network.decode_step(tokens, torch.zeros(2), zeros(network.decoder.states))
        return
    tokens = out.tokens[:, : config.steps]
    joints, confidence, _ = network.decode_step(tokens, torch.zeros(2), zeros(network.decoder.states))
    torch.testing.assert_close(joints, out.joints[:, : config.packet], rtol=0, atol=1e-4)
    assert confidence.shape == joints.shape[:-1]


def test_the_weights_that_ship_still_fit() -> None:
    for name in shipped():
        file = CONFIGS / f"{name}.yaml"
        network: torch.nn.Module
        if is_predictive(file):
            network = PredictiveNetwork(load_predictive(file, []).model)
        else:
            network = TokenizerNetwork(load_config(file, []).model)
        shapes = {key: t.shape for key, t in network.state_dict().items() if t.dtype == torch.float32}
        stored = load_file(PRETRAINED / name / "model.safetensors")
        assert shapes == {
            key: t.shape for key, t in stored.items() if not key.startswith("graph.") and not key.endswith(SCALE)
        }


def test_the_papers_network_has_its_size() -> None:
    config = load_config(CONFIGS / "paper" / "windowed.yaml", []).model
    assert (config.window, config.grid, config.steps, config.cells) == (48, 128, 6, 16)
    with torch.device("meta"):
        parts = (WindowedEncoder(config), WindowedDecoder(config))
        latent = parts[0](torch.empty(1, 17, 48, 128, 128), State({}))
    assert latent.shape == (1, 6, 256, 256)
    millions = sum(p.numel() for part in parts for p in part.parameters()) / 1e6
    assert 48 < millions < 53


def test_causal_and_windowed_are_of_equal_size() -> None:
    causal, windowed = (TokenizerNetwork(make(**kind)) for kind in ({}, WINDOWED))
    sizes = [sum(p.numel() for p in network.parameters()) for network in (causal, windowed)]
    assert abs(sizes[1] / sizes[0] - 1) < 0.01


def test_only_the_windowed_networks_look_ahead() -> None:
    for kind, ahead in (({}, False), (WINDOWED, True), (CONV3D, True)):
        network = trained_a_little(make(**kind))
        points = keypoints(network.config)
        changed = points.clone()
        changed[:, 4:, :, 0] *= 0.5
        with torch.inference_mode():
            one, other = (network(x, quantize=False).heatmaps(2.0)[:, :, :4] for x in (points, changed))
        assert (float((one - other).abs().max()) > 1e-6) == ahead


@pytest.mark.parametrize("dims", [2, 3])
def test_maps_drawn_by_the_model_are_those_of_the_live_system(dims: int) -> None:
    config = make(dims=dims, grid=64, cells=8)
    points = keypoints(config)
    np.testing.assert_allclose(
        draw_maps(points, "joints", config).numpy(), draw(points.numpy(), config.grid, config.sigma), atol=1e-5
    )


def test_a_limb_is_a_gaussian_of_the_distance_from_it() -> None:
    config = make(grid=32, cells=4)
    points = keypoints(config, frames=2, batch=1)
    maps = draw_maps(points, "limbs", config)[0].numpy()
    pixel = np.stack(np.meshgrid(np.arange(32) + 0.5, np.arange(32) + 0.5), axis=-1)  # column, row
    along = np.linspace(0, 1, 2001)
    for limb, (a, b) in enumerate(BONES):
        start, end, there = *(points[0, 1, [a, b], :2].numpy() * 32), points[0, 1, [a, b], 2].numpy().prod()
        line = start + along[:, None] * (end - start)
        distance = np.linalg.norm(pixel[:, :, None] - line, axis=-1).min(axis=-1)
        np.testing.assert_allclose(maps[limb, 1], np.exp(-0.5 * (distance / 2) ** 2) * there, atol=1e-3)
    combined = draw_maps(points, "combined", config)[0].numpy()
    np.testing.assert_allclose(combined[0], maps.max(axis=0), atol=1e-6)


@pytest.mark.parametrize("dims", [2, 3])
def test_joints_are_read_where_they_were_drawn(dims: int) -> None:
    config = make(dims=dims, grid=64, cells=8, outputs="joints")
    points = keypoints(config)
    points[..., :-1] = 0.2 + 0.6 * points[..., :-1]
    maps = draw_maps(points, "joints", config).clamp(1e-6, 1 - 1e-6)
    joints, presence = joints_of_maps(maps.logit(), config)
    seen = points[..., -1] == 1
    torch.testing.assert_close(joints[seen], points[..., :-1][seen], rtol=0, atol=2e-3)
    assert presence[seen].min() > 0 > presence[~seen].max()


def test_a_sure_distribution_draws_the_gaussian_itself() -> None:
    config = make(dims=3, grid=64, cells=8)
    points = keypoints(config)
    points[..., :-1] = 0.2 + 0.6 * points[..., :-1]
    pixel = (torch.arange(64) + 0.5) / 64
    axes = -0.5 * ((points[..., :-1, None] - pixel) * 64 / config.sigma) ** 2
    presence = torch.where(points[..., -1] == 1, 30.0, -30.0)
    out = Reconstruction(points[..., :-1], presence, axes, None, torch.zeros(2, 2, 64, 1), {})
    torch.testing.assert_close(out.heatmaps(config.sigma), draw_maps(points, "joints", config), rtol=0, atol=1e-4)
    torch.testing.assert_close(out.heatmaps(config.sigma, slice(2, 5)), out.heatmaps(config.sigma)[:, :, 2:5])


def test_drawing_the_truth_costs_least() -> None:
    config = make(outputs="joints")
    points = keypoints(config)
    maps = true_maps(points[..., :2], points[..., 2], config).clamp(1e-4, 1 - 1e-4)
    tokens = torch.zeros(2, 2, 16, 1)

    def cost(drawn: torch.Tensor) -> float:
        out = Reconstruction(None, None, None, drawn.logit(), tokens, {})
        return float(total_loss(out, points, points[..., :2], config, LossConfig())[1]["heatmap"])

    best = cost(maps)
    assert best < cost(torch.full_like(maps, 1e-4))
    assert best < cost((0.9 * maps).clamp(min=1e-4))
    assert best < cost(maps.roll(1, dims=-1))


def test_each_residual_level_leaves_less() -> None:
    torch.manual_seed(0)
    book = ResidualLookup(make(levels=3), dead_below=0.0)
    x = torch.randn(4, 256, 32)
    for _ in range(5):
        book.quantize(x, 1.0)
    book.module.eval()
    latent = book.latent(x)
    left = latent.norm(dim=-1).mean(dim=(0, 1))
    assert left[0] > 1.3 * left[1] > 1.3 * left[2]
    tokens = book.lookup(latent)
    assert (tokens == book.quantize(x, 1.0).tokens).float().mean() > 0.99
    torch.testing.assert_close(book.decode(tokens), book.quantize(x, 1.0).codes, rtol=0, atol=0.05)


def test_the_dvae_is_pulled_to_the_uniform_and_sharpens_as_it_cools() -> None:
    torch.manual_seed(0)
    sampling = GumbelSampling(make(quantizer="gumbel"))
    x = torch.randn(2, 8, 32)
    with torch.no_grad():
        sampling.module.logits.weight.zero_()
        sampling.module.logits.bias.zero_()
    assert float(sampling.quantize(x, 1.0).penalties["kl"].detach()) == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        sampling.module.logits.bias[3] = 100
    out = sampling.quantize(x, 1.0)
    assert float(out.penalties["kl"].detach()) == pytest.approx(np.log(16), rel=1e-4)
    assert (out.tokens == 3).all()
    torch.testing.assert_close(out.codes, sampling.decode(out.tokens), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"network": "conv3d"}, "model.causal=false"),
        ({"network": "conv3d", **WINDOWED}, "model.outputs"),
        ({**CONV3D, "conv_channels": [8, 8]}, "model.conv_channels needs 4 entries"),
        ({**CONV3D, "hop": 6, "window": 12}, "powers of two"),
        ({"causal": False, "window": 6}, "model.window 6 must be a multiple of model.hop 4"),
        ({"window": 8}, "model.causal=false"),
        ({"quantizer": "fsq", "fsq_levels": [8, 8]}, "must be model.vocabulary 16"),
        ({"quantizer": "fsq", "levels": 2}, "model.quantizer=vq"),
        ({"views": 3}, "model.outputs"),
        ({"views": 3, "dims": 3, **COMBINED}, "model.dims=2"),
        ({"dims": 4}, "model.dims must be 2 or 3"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**keys)
