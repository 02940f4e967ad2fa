"""What the tokenizer is trained on: where the heatmaps' mass lies, where the joints are, how they move."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.model.patches import marginal
from training.model.tokenizer import ModelConfig, Reconstruction


@dataclass
class LossConfig:
    """Weight of each term. Distances count in pixels of the heatmap grid."""

    heatmap: float = 1.0  # cross-entropy between the Gaussian and the decoded distribution over pixels
    joint: float = 1.0  # mean distance of the soft-argmax from the joint
    velocity: float = 1.0  # mean error of the frame-to-frame motion
    presence: float = 0.2  # is this joint there at all
    commitment: float = 1.0  # latents stay near their code
    hidden: float = 0.2  # share of a hidden joint's weight: the decoder should guess what it cannot see


def total_loss(
    out: Reconstruction, keypoints: Tensor, truth: Tensor, model: ModelConfig, weights: LossConfig
) -> tuple[Tensor, dict[str, float]]:
    """Return the weighted sum and each term by name.

    keypoints: what the encoder saw [B, T, J, D + 1]; truth: where the joints really are [B, T, J, D], box
    coordinates, known for hidden joints too.
    """
    present = keypoints[..., -1]
    inside = ((truth >= 0) & (truth < 1)).all(dim=-1)
    weight = (present + weights.hidden * (1 - present)) * inside
    norm = weight.sum().clamp(min=1.0)

    distance = (out.joints - truth).norm(dim=-1) * model.grid
    steady = weight[:, 1:] * weight[:, :-1]
    motion = ((out.joints - truth).diff(dim=1)).norm(dim=-1) * model.grid
    terms = {
        "heatmap": (heatmap_cross_entropy(out, truth, model) * weight).sum() / norm,
        "joint": (distance * weight).sum() / norm,
        "velocity": (motion * steady).sum() / steady.sum().clamp(min=1.0),
        "presence": F.binary_cross_entropy_with_logits(out.presence, present),
        "commitment": out.commitment,
    }
    total = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
    return total, {name: term.item() for name, term in terms.items()}


def heatmap_cross_entropy(out: Reconstruction, truth: Tensor, model: ModelConfig) -> Tensor:
    """Cross-entropy of each joint's decoded heatmap under its normalised Gaussian: [B, T, J], nats per plane.

    Heatmaps are almost empty, so a mean square error over pixels would be won by decoding nothing; this is the
    spatial cross-entropy instead. Both sides are outer products: the cross-entropy over a plane's pixels is the sum
    of those along its two axes, so no map is drawn.
    """
    target = marginal(truth, model.grid, model.sigma)
    target = target / target.sum(dim=-1, keepdim=True).clamp(min=1e-6)
    along_axis = -(target * out.logits.log_softmax(dim=-1)).sum(dim=-1)
    return 2 * along_axis.mean(dim=-1)
