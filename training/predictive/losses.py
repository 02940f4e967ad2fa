"""What a predictive network is trained on: the places and the velocities of joints."""

import torch
from torch import Tensor

from stream.motion.skeleton import J
from training.predictive.config import PredictiveConfig
from training.predictive.windows import Batch

SIDE_CM = 180.0
"""Side of a usual box: errors weigh as if in centimetres over this."""


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
