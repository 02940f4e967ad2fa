"""The four exactness tests of the streaming networks: prefix, stream equals batch, any chunk plan, reset equals fresh.

On small networks with random weights, then (in test_engine) on the tokenizers that ship.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from stream.motion.heatmap import draw
from training.model.config import ModelConfig
from training.model.heatmaps import draw_maps
from training.model.patch import Decoder, Encoder, PatchDecoder
from training.model.streaming import State, reset_rows, zero_state

Network = Encoder | Decoder | PatchDecoder

CONFIGS = {
    name: ModelConfig(grid=16, frame_channels=16, token_channels=32, basis=4, token_blocks=2, **sizes)  # type: ignore[arg-type]
    for name, sizes in {
        "2d": {"hop": 4, "cells": 4},
        "3d": {"hop": 4, "cells": 4, "dims": 3},
        "f8": {"hop": 8, "cells": 2},
        "f16": {"hop": 16, "cells": 1},
        "dense": {"hop": 4, "cells": 4, "outputs": "joints"},
        "limbs 3d": {"hop": 4, "cells": 2, "dims": 3, "inputs": "limbs", "outputs": "combined"},
    }.items()
}


def make(config: ModelConfig) -> tuple[Encoder, Decoder | PatchDecoder]:
    torch.manual_seed(0)
    decoder = Decoder if config.outputs == "axes" else PatchDecoder
    return Encoder(config).double().eval(), decoder(config).double().eval()


def inputs(config: ModelConfig, hops: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    keypoints = torch.from_numpy(rng.uniform(0.1, 0.9, (3, hops * config.hop, 17, config.dims + 1)))
    keypoints[..., -1] = (keypoints[..., -1] > 0.3).double()
    return keypoints, torch.from_numpy(rng.normal(size=(3, hops, config.places, config.token_channels)))


def run(network: Network, x: Tensor, plan: list[int]) -> Tensor:
    """Run x in chunks of the planned lengths, the state handed on; return the output along time, features last."""
    state, outputs, start = zero_state(network.states, x), [], 0
    for length in plan:
        now = State(state)
        out = network(x[:, start : start + length], now)
        outputs.append(out if isinstance(out, Tensor) else together(*out))
        state, start = now.new, start + length
    return torch.cat(outputs, dim=1)


def together(drawn: Tensor, presence: Tensor | None) -> Tensor:
    """What a decoder gives as [B, T, features]: distributions and presence, or maps [B, M, T, G, G]."""
    return torch.cat([drawn.flatten(2), presence], dim=-1) if presence is not None else drawn.transpose(1, 2).flatten(2)


def both(config: ModelConfig, hops: int) -> list[tuple[Network, Tensor, int]]:
    """Encoder and decoder, each with its input and the input's steps per hop."""
    encoder, decoder = make(config)
    keypoints, latents = inputs(config, hops)
    return [(encoder, keypoints, config.hop), (decoder, latents, 1)]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
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


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("plan", [[1] * 6, [2, 4], [3, 1, 2], [5, 1], [1, 5]])
def test_stream_equals_batch_whatever_the_chunks(config: ModelConfig, plan: list[int]) -> None:
    for network, x, step in both(config, hops=6):
        whole = run(network, x, [6 * step])
        pieces = run(network, x, [length * step for length in plan])
        torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_people_in_a_batch_do_not_touch_each_other(config: ModelConfig) -> None:
    for network, x, step in both(config, hops=3):
        together = run(network, x, [step] * 3)
        torch.testing.assert_close(run(network, x[1:2], [step] * 3), together[1:2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_past_is_used(config: ModelConfig) -> None:
    for network, x, step in both(config, hops=2):
        with_past = run(network, x, [step, step])
        alone = run(network, x[:, step:], [step])
        assert (with_past[:, alone.shape[1] :] - alone).abs().max() > 1e-6


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_heatmaps_and_keypoints_are_one_input(config: ModelConfig) -> None:
    encoder, _ = make(config)
    keypoints, _ = inputs(config, hops=2)
    if config.inputs == "joints":
        drawn = torch.from_numpy(draw(keypoints.numpy().astype(np.float32), config.grid, config.sigma)).double()
    else:
        drawn = draw_maps(keypoints, config.inputs, config)
    apart = run(encoder, keypoints, [2 * config.hop]) - encoder(drawn, State(zero_state(encoder.states, drawn)))
    assert apart.abs().max() < 1e-5


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_reset_equals_a_fresh_start_for_that_person_alone(config: ModelConfig) -> None:
    for network, x, step in both(config, hops=4):
        state = zero_state(network.states, x)
        now = State(state)
        network(x[:, : 2 * step], now)
        reset = torch.tensor([0, 1, 0])
        mixed = run_on(network, x[:, 2 * step :], reset_rows(now.new, reset))
        fresh = run(network, x[:, 2 * step :], [2 * step])
        whole = run(network, x, [4 * step])[:, -mixed.shape[1] :]
        torch.testing.assert_close(mixed[1], fresh[1], rtol=0, atol=1e-12)
        torch.testing.assert_close(mixed[[0, 2]], whole[[0, 2]], rtol=0, atol=1e-12)


def run_on(network: Network, x: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Run x in one piece from a given state."""
    out = network(x, State({path: past.double() for path, past in state.items()}))
    return out if isinstance(out, Tensor) else together(*out)
