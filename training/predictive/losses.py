"""What a predictive network is trained on: places, velocities, likely scales, and how far two ends are apart."""

import torch
from torch import Tensor
from torch.nn import functional as F

from stream.motion.skeleton import J
from training.predictive.config import PredictiveConfig
from training.predictive.network import Prediction, PredictiveNetwork, State
from training.predictive.windows import Batch

SIDE_CM = 180.0
"""Side of a usual box: errors weigh as if in centimetres over this."""


HALF = 0.45
"""Share of a distance that may be left a hop later: a little less than half, so that half is kept on unseen motion."""

NEAR = 0.03
"""Distance, box units, below which it matters less and less how fast it falls."""


def joint_error(hop: Tensor, truth: Tensor, weights: Tensor, side: Tensor, dims: int) -> Tensor:
    """Return the mean distance of joints, in boxes of the usual side.

    hop: [B, V]; truth: [B, P]; weights: [B, P / dims]; side: [B, 1], of each box in usual ones.
    """
    apart = (hop[:, : truth.shape[1]] - truth).unflatten(-1, (-1, dims))
    return ((apart.square().sum(dim=-1) + 1e-6).sqrt() * weights * side).sum() / weights.sum()


def velocity_error(batch: Batch, hop: int, full: Tensor, before: Tensor, c: PredictiveConfig) -> Tensor:
    """Return the mean error of joints' steps from frame to frame, that from the hop before among them.

    full: [B, V], the hop as decoded; before: [B, V], the one before it, in the same box.
    """
    box, old = batch.boxes[:, hop], batch.boxes[:, hop - 1]
    frames = (c.hop, J, c.dims)
    last = batch.truth[:, hop - 1].unflatten(-1, frames)[:, -1:]
    ratio, shift = old[:, -1:] / box[:, -1:], (old[:, :-1] - box[:, :-1]) / box[:, -1:]
    last = (last - 0.5) * ratio[:, None, None] + shift[:, None, None] + 0.5
    truth = torch.cat([last, batch.truth[:, hop].unflatten(-1, frames)], dim=1)
    start = before[:, : c.coordinates].unflatten(-1, frames)[:, -1:]
    decoded = torch.cat([start, full[:, : c.coordinates].unflatten(-1, frames)], dim=1)
    there = [batch.there[:, at].unflatten(-1, frames[:2]) for at in (hop - 1, hop)]
    weights = torch.cat([there[0][:, -1:], there[1]], dim=1)
    weights = weights[:, 1:] * weights[:, :-1]
    apart = decoded.diff(dim=1) - truth.diff(dim=1)
    side = (box[:, -1] / SIDE_CM)[:, None, None]
    return ((apart.square().sum(dim=-1) + 1e-7).sqrt() * weights * side).sum() / weights.sum()


def surprise(prediction: Prediction, residual: Tensor) -> Tensor:
    """Return the mean negative log likelihood of residuals [B, K] under Laplace distributions of the scales."""
    return (residual.detach().abs() / prediction.scale + prediction.scale.log()).mean()


def apart(hop: Tensor, other: Tensor, c: PredictiveConfig) -> Tensor:
    """Return the mean distance of all joints of two hops [B, V], [B], box units."""
    difference = (hop - other)[:, : c.coordinates].unflatten(-1, (-1, c.dims))
    return (difference.square().sum(dim=-1) + 1e-8).sqrt().mean(dim=1)


@torch.no_grad()
def distance(network: PredictiveNetwork, state: State, box: Tensor, hop: Tensor) -> Tensor:
    """Return how far the newest hop that a reader remembers is from the right one [B, V], [B], box units."""
    return apart(network.predict(state, box).past[:, 0], hop, network.config)


def unforgotten(now: Tensor, before: Tensor) -> Tensor:
    """Return by how much distances [B] fail to become less than half of those a hop before, as a mean share of them."""
    return (F.relu(now - HALF * before) / (before + NEAR)).mean()
