"""The adversary: what it sees, what it pulls at, and that its own learning never touches the generator."""

import pytest
import torch
from torch import Tensor

from training.model.discriminator import (
    Adversary,
    AdversaryConfig,
    PatchDiscriminator,
    adaptive_weight,
    hinge,
    matching,
    random_stretch,
)
from training.model.losses import LossConfig, total_loss, true_maps
from training.model.tokenizer import ModelConfig, Reconstruction, TokenizerNetwork

MODEL = ModelConfig(
    grid=16, hop=4, cells=4, basis=4, vocabulary=16, frame_channels=32, token_channels=32, joint_channels=32,
    frame_blocks=1, token_blocks=1,
)  # fmt: skip
CONFIG = AdversaryConfig(weight=0.8, channels=4, layers=2, frames=8)


def decoded(outputs: str) -> tuple[TokenizerNetwork, Reconstruction, Tensor, Tensor]:
    """A network, its reconstruction of random motion, and the maps that went in and came out."""
    torch.manual_seed(0)
    model = ModelConfig(**{**vars(MODEL), "outputs": outputs})
    network = TokenizerNetwork(model)
    keypoints = torch.rand(2, 8, 17, 3)
    keypoints[..., -1] = 1
    out = network(keypoints)
    real = true_maps(keypoints[..., :2], keypoints[..., 2], model)
    return network, out, real, out.heatmaps(model.sigma)


@pytest.mark.parametrize("outputs", ["axes", "joints"])
def test_no_gradient_of_the_discriminator_reaches_the_generator(outputs: str) -> None:
    network, _, real, fake = decoded(outputs)
    adversary = Adversary(CONFIG, 17, torch.device("cpu"))
    before = [p.detach().clone() for p in adversary.network.parameters()]
    adversary.learn(real, fake)
    assert all(p.grad is None for p in network.parameters())
    assert any(not torch.equal(p, b) for p, b in zip(adversary.network.parameters(), before, strict=True))


@pytest.mark.parametrize("outputs", ["axes", "joints"])
def test_the_pull_moves_the_generator_alone(outputs: str) -> None:
    network, _, real, fake = decoded(outputs)
    adversary = Adversary(CONFIG, 17, torch.device("cpu"))
    pull, terms = adversary.pull(real, fake, fake.sub(real).square().mean(), network.decoder.last_layer)
    pull.backward()
    assert all(p.grad is None for p in adversary.network.parameters())
    assert all(p.requires_grad for p in adversary.network.parameters())
    assert network.decoder.last_layer.grad is not None
    assert network.decoder.last_layer.grad.abs().sum() > 0
    assert set(terms) == {"adversary/pull", "adversary/features", "adversary/factor"}


def test_the_adaptive_weight_makes_both_pulls_equal_at_the_last_layer() -> None:
    network, out, _, fake = decoded("axes")
    keypoints = torch.rand(2, 8, 17, 3)
    loss, _ = total_loss(out, keypoints, keypoints[..., :2], MODEL, LossConfig())
    layer = network.decoder.last_layer
    pull = -100 * (fake * torch.rand_like(fake)).mean()
    factor = adaptive_weight(loss, pull, layer)
    (wanted,) = torch.autograd.grad(loss, layer, retain_graph=True)
    (found,) = torch.autograd.grad(factor * pull, layer)
    torch.testing.assert_close(found.norm(), wanted.norm(), rtol=1e-2, atol=0)


def test_the_hinge_and_the_features() -> None:
    assert hinge(torch.tensor([2.0]), torch.tensor([-3.0])) == 0
    assert hinge(torch.tensor([0.0]), torch.tensor([0.5])) == 0.5 * (1 + 1.5)
    real = [torch.ones(2, 3), torch.full((4,), 10.0)]
    assert matching(real, real) == 0
    assert matching(real, [1.5 * each for each in real]) == pytest.approx(0.5)


def test_it_judges_patches_in_time_height_and_width() -> None:
    logits, features = PatchDiscriminator(17, channels=8, layers=3)(torch.rand(2, 17, 16, 64, 64))
    assert logits.shape == (2, 1, 2, 8, 8)
    assert [f.shape[1] for f in features] == [8, 16, 32]


def test_it_learns_to_tell_blurred_motion_from_real_motion() -> None:
    _, _, real, _ = decoded("axes")
    blurred = 0.5 * torch.nn.functional.avg_pool3d(real, 5, 1, 2)
    torch.manual_seed(0)
    adversary = Adversary(CONFIG, 17, torch.device("cpu"))
    losses = [float(adversary.learn(real, blurred)["adversary/hinge"]) for _ in range(150)]
    assert losses[-1] < 0.5 * losses[0]


def test_the_stretch_lies_in_the_window() -> None:
    torch.manual_seed(1)
    found = [random_stretch(8, 20) for _ in range(200)]
    assert {part.stop - part.start for part in found} == {8}
    assert min(part.start for part in found) == 0
    assert max(part.stop for part in found) == 20
    assert random_stretch(8, 5) == slice(0, 5)
