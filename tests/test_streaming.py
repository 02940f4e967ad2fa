"""The four exactness tests of the streaming networks: prefix, stream equals batch, any chunk plan, reset equals fresh.

On small networks with random weights, then (in test_engine) on the tokenizers that ship.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from training.model.streaming import State, zero_state
from training.model.tokenizer import Decoder, Encoder, ModelConfig

HOP = 4
CONFIGS = [
    ModelConfig(dims=dims, grid=16, hop=HOP, cells=4, frame_channels=16, token_channels=32, basis=4, token_blocks=2)
    for dims in (2, 3)
]


def make(config: ModelConfig) -> tuple[Encoder, Decoder]:
    torch.manual_seed(0)
    return Encoder(config).double().eval(), Decoder(config).double().eval()


def inputs(config: ModelConfig, hops: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    keypoints = torch.from_numpy(rng.uniform(0.1, 0.9, (3, hops * HOP, 17, config.dims + 1)))
    keypoints[..., -1] = (keypoints[..., -1] > 0.3).double()
    return keypoints, torch.from_numpy(rng.normal(size=(3, hops, config.places, config.token_channels)))


def run(network: Encoder | Decoder, x: Tensor, plan: list[int]) -> Tensor:
    """Run x in chunks of the planned lengths, the state handed on; return the output along time, features last."""
    state, outputs, start = zero_state(network.states, x), [], 0
    for length in plan:
        now = State(state)
        out = network(x[:, start : start + length], now)
        outputs.append(out if isinstance(out, Tensor) else torch.cat([o.flatten(2) for o in out], dim=-1))
        state, start = now.new, start + length
    return torch.cat(outputs, dim=1)


def both(config: ModelConfig, hops: int) -> list[tuple[Encoder | Decoder, Tensor, int]]:
    """Encoder and decoder, each with its input and the input's steps per hop."""
    encoder, decoder = make(config)
    keypoints, latents = inputs(config, hops)
    return [(encoder, keypoints, HOP), (decoder, latents, 1)]


@pytest.mark.parametrize("config", CONFIGS, ids=["2d", "3d"])
def test_prefix_the_past_does_not_depend_on_the_future(config: ModelConfig) -> None:
    for network, x, step in both(config, hops=6):
        whole = run(network, x, [6 * step])
        other = x.clone()
        other[:, 4 * step :] = torch.flip(other[:, 4 * step :], dims=(-1,))
        changed = run(network, other, [6 * step])
        known = whole.shape[1] * 4 // 6
        torch.testing.assert_close(changed[:, :known], whole[:, :known], rtol=0, atol=1e-12)
        torch.testing.assert_close(run(network, x[:, : 4 * step], [4 * step]), whole[:, :known], rtol=0, atol=1e-12)
        assert (changed[:, known:] - whole[:, known:]).abs().max() > 1e-6


@pytest.mark.parametrize("config", CONFIGS, ids=["2d", "3d"])
@pytest.mark.parametrize("plan", [[1] * 6, [2, 4], [3, 1, 2], [5, 1], [1, 5]])
def test_stream_equals_batch_whatever_the_chunks(config: ModelConfig, plan: list[int]) -> None:
    for network, x, step in both(config, hops=6):
        whole = run(network, x, [6 * step])
        pieces = run(network, x, [length * step for length in plan])
        torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("config", CONFIGS, ids=["2d", "3d"])
def test_people_in_a_batch_do_not_touch_each_other(config: ModelConfig) -> None:
    for network, x, step in both(config, hops=3):
        together = run(network, x, [step] * 3)
        torch.testing.assert_close(run(network, x[1:2], [step] * 3), together[1:2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("config", CONFIGS, ids=["2d", "3d"])
def test_the_past_is_used(config: ModelConfig) -> None:
    for network, x, step in both(config, hops=2):
        with_past = run(network, x, [step, step])
        alone = run(network, x[:, step:], [step])
        assert (with_past[:, alone.shape[1] :] - alone).abs().max() > 1e-6


def test_heatmaps_and_keypoints_are_one_input() -> None:
    from stream.motion.heatmap import draw

    for config in CONFIGS:
        encoder, _ = make(config)
        keypoints, _ = inputs(config, hops=2)
        drawn = torch.from_numpy(draw(keypoints.numpy().astype(np.float32), config.grid, config.sigma)).double()
        apart = run(encoder, keypoints, [2 * HOP]) - encoder(drawn, State(zero_state(encoder.states, drawn)))
        assert apart.abs().max() < 1e-4
