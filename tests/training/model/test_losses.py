"""The terms of the loss, against what they are by hand."""

import pytest
import torch

from training.model.config import ModelConfig
from training.model.losses import LossConfig, total_loss
from training.model.tokenizer import Reconstruction

MODEL = ModelConfig(grid=32, cells=4)
B, T, J = 2, 6, 17


def loss(off: torch.Tensor, present: torch.Tensor, weights: LossConfig) -> tuple[float, dict[str, float]]:
    """The loss of joints that lie off by so much, [B, T, J, 2], in box coordinates; `present`: [B, T, J]."""
    truth = torch.full((B, T, J, 2), 0.5)
    keypoints = torch.cat([truth, present[..., None]], dim=-1)
    out = Reconstruction(
        joints=truth + off,
        presence=torch.zeros(B, T, J),
        axes=torch.zeros(B, T, J, 2, MODEL.grid),
        maps=None,
        tokens=torch.zeros(B, 1, 16, 1),
        penalties={"commitment": torch.tensor(3.0)},
    )
    total, terms = total_loss(out, keypoints, truth, MODEL, weights)
    return float(total), {name: float(term) for name, term in terms.items()}


def test_every_term_is_what_its_name_says() -> None:
    off = torch.zeros(B, T, J, 2)
    off[:, ::2, :, 0] = 0.1  # every other frame
    weights = LossConfig(heatmap=0.5, joint=2.0, velocity=3.0, presence=4.0, commitment=5.0)
    total, terms = loss(off, torch.ones(B, T, J), weights)
    assert terms["joint"] == pytest.approx(0.5 * 0.1 * MODEL.grid)
    assert terms["velocity"] == pytest.approx(0.1 * MODEL.grid)  # it jumps to and fro between all frames
    assert terms["presence"] == pytest.approx(0.6931, abs=1e-4)  # a coin's surprise
    assert terms["heatmap"] == pytest.approx(2 * torch.tensor(32.0).log().item(), rel=1e-4)  # knows nothing
    assert terms["commitment"] == 3
    assert total == pytest.approx(sum(getattr(weights, name) * term for name, term in terms.items()), rel=1e-5)
    steady = torch.full((B, T, J, 2), 0.1)
    assert loss(steady, torch.ones(B, T, J), weights)[1]["velocity"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("hidden", [0.0, 0.2, 1.0])
def test_a_hidden_joint_counts_as_much_as_it_is_told_to(hidden: float) -> None:
    off, present = torch.zeros(B, T, J, 2), torch.ones(B, T, J)
    off[:, :, 9, 1], present[:, :, 9] = 0.25, 0
    terms = loss(off, present, LossConfig(hidden=hidden))[1]
    assert terms["joint"] == pytest.approx(hidden * 0.25 * MODEL.grid / (J - 1 + hidden), abs=1e-6)
