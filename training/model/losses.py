"""What the tokenizer is trained on: where the heatmaps' mass lies, where the joints are, how they move."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stream.motion.heatmap import planes_of
from training.model.heatmaps import draw_maps, marginal
from training.model.tokenizer import ModelConfig, Reconstruction


@dataclass
class LossConfig:
    """Weight of each term. Distances count in pixels of the heatmap grid."""

    heatmap: float = 1.0  # cross-entropy between the Gaussian and the decoded distribution, or of the drawn pixels
    joint: float = 1.0  # mean distance of the decoded joint from the joint
    velocity: float = 1.0  # mean error of the frame-to-frame motion
    presence: float = 0.2  # is this joint there at all
    commitment: float = 1.0  # latents stay near their code
    kl: float = 0.01  # dVAE: the choice of ids stays near the uniform; nats per token
    hidden: float = 0.2  # share of a hidden joint's weight: the decoder should guess what it cannot see
    lit: float = 20.0  # weight of a lit pixel beside an empty one, where pixels are drawn
    perceptual: float = 0.0  # LPIPS of the drawn heatmaps; 0: none
    perceptual_weights: str = ""  # the folder with its weights, see training/model/lpips.py


def total_loss(
    out: Reconstruction, keypoints: Tensor, truth: Tensor, model: ModelConfig, weights: LossConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted sum and each term by name, detached.

    keypoints: what the encoder saw [B, T, V * J, D + 1]; truth: where the joints really are [B, T, V * J, D], box
    coordinates, known for hidden joints too.
    """
    present = keypoints[..., -1]
    inside = ((truth >= 0) & (truth < 1)).all(dim=-1)
    weight = (present + weights.hidden * (1 - present)) * inside
    norm = weight.sum().clamp(min=1.0)

    terms: dict[str, Tensor] = {}
    if out.axes is not None:
        terms["heatmap"] = (heatmap_cross_entropy(out.axes, truth, model) * weight).sum() / norm
    else:
        terms["heatmap"] = pixel_cross_entropy(out, truth, present, weight, model, weights.lit)
    if out.joints is not None:
        distance = (out.joints - truth).norm(dim=-1) * model.grid
        steady = weight[:, 1:] * weight[:, :-1]
        motion = ((out.joints - truth).diff(dim=1)).norm(dim=-1) * model.grid
        terms["joint"] = (distance * weight).sum() / norm
        terms["velocity"] = (motion * steady).sum() / steady.sum().clamp(min=1.0)
    if out.axes is not None and out.presence is not None:
        terms["presence"] = F.binary_cross_entropy_with_logits(out.presence, present)
    terms |= out.penalties
    total = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
    return total, {name: term.detach() for name, term in terms.items()}


def heatmap_cross_entropy(axes: Tensor, truth: Tensor, model: ModelConfig) -> Tensor:
    """Cross-entropy of each joint's decoded heatmap under its normalised Gaussian: [B, T, J], nats per plane.

    axes: logits [B, T, J, D, G]; truth: [B, T, J, D].

    Heatmaps are almost empty, so a mean square error over pixels would be won by decoding nothing; this is the
    spatial cross-entropy instead. Both sides are outer products: the cross-entropy over a plane's pixels is the sum
    of those along its two axes, so no map is drawn.
    """
    target = marginal(truth, model.grid, model.sigma)
    target = target / target.sum(dim=-1, keepdim=True).clamp(min=1e-6)
    along_axis = -(target * axes.log_softmax(dim=-1)).sum(dim=-1)
    return 2 * along_axis.mean(dim=-1)


def pixel_cross_entropy(
    out: Reconstruction, truth: Tensor, present: Tensor, weight: Tensor, model: ModelConfig, lit: float
) -> Tensor:
    """Mean binary cross-entropy of the drawn pixels, nats: a scalar.

    A pixel of height h counts 1 + lit * h: heatmaps are almost empty, and unweighted an empty one would do. Where
    maps are of joints, hidden joints are drawn too and count by `weight` [B, T, V * J]; maps of limbs show those
    whose ends are `present` [B, T, V * J].
    """
    assert out.maps is not None
    target = true_maps(truth, present, model)
    by_pixel = 1 + lit * target
    if model.outputs == "joints":
        by_pixel = by_pixel * weight.repeat(1, 1, len(planes_of(model.dims))).transpose(1, 2)[..., None, None]
    surprise = F.binary_cross_entropy_with_logits(out.maps, target, weight=by_pixel, reduction="sum")
    return surprise / by_pixel.sum().clamp(min=1.0)


def true_maps(truth: Tensor, present: Tensor, model: ModelConfig) -> Tensor:
    """Draw what should come out: truth [B, T, V * J, D], present [B, T, V * J] -> [B, M, T, G, G] in 0..1.

    Maps of joints hold hidden joints too, wherever they are inside the box; maps of limbs only what was seen.
    """
    inside = ((truth >= 0) & (truth < 1)).all(dim=-1).to(truth.dtype)
    there = inside if model.has_joints else inside * present
    return draw_maps(torch.cat([truth, there.unsqueeze(-1)], dim=-1), model.outputs, model)
