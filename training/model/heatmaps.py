"""Heatmaps in torch: drawn from joints on the model's device, and joints read from drawn maps.

The torch twin of `stream.motion.heatmap`, plus maps of limbs, which are not outer products.
"""

import torch
from torch import Tensor

from stream.motion.heatmap import planes_of
from stream.motion.skeleton import BONES, J
from training.model.config import ModelConfig

STARTS, ENDS = ([bone[end] for bone in BONES] for end in (0, 1))


def draw_maps(keypoints: Tensor, drawing: str, config: ModelConfig) -> Tensor:
    """Draw a window: [B, T, V * J, D + 1] box coordinates and presence -> [B, M, T, G, G] in 0..1.

    V cameras follow each other along the joints; maps are ordered by plane, then joint or limb. A joint that is
    missing leaves its map, and those of its limbs, empty.
    """
    if drawing in ("joints", "axes"):
        return outer(*marginals(keypoints, config.grid, config.sigma))
    batch, frames = keypoints.shape[:2]
    bodies = keypoints.view(batch, frames, -1, J, keypoints.shape[-1])
    planes = [bodies[..., [column, row]] for column, row in planes_of(keypoints.shape[-1] - 1)]
    points = torch.cat(planes, dim=2)  # [B, T, planes, J, 2]
    present = bodies[..., -1].repeat(1, 1, len(planes), 1)
    maps = limb_maps(points, present, config.grid, config.sigma)
    if drawing == "combined":
        maps = maps.amax(dim=3, keepdim=True)
    return maps.flatten(2, 3).transpose(1, 2)


def outer(down: Tensor, across: Tensor) -> Tensor:
    """Factors of heatmaps, rows and columns, each [B, T, M, G] -> the heatmaps [B, M, T, G, G]."""
    return (down.unsqueeze(-1) * across.unsqueeze(-2)).transpose(1, 2)


def limb_maps(points: Tensor, present: Tensor, grid: int, sigma: float) -> Tensor:
    """Draw every limb as a Gaussian of the distance from it.

    points: [..., J, 2] (column, row) in box coordinates; present: [..., J]. Returns [..., limbs, G, G], peak 1.
    """
    pixel = torch.arange(grid, dtype=points.dtype, device=points.device) + 0.5
    start, end = points[..., STARTS, :] * grid, points[..., ENDS, :] * grid
    along = end - start
    length2 = along.square().sum(dim=-1).clamp(min=1e-6)[..., None, None]
    x = (pixel - start[..., 0, None])[..., None, :]  # [..., limbs, 1, G]
    y = (pixel - start[..., 1, None])[..., :, None]  # [..., limbs, G, 1]
    dx, dy = along[..., 0, None, None], along[..., 1, None, None]
    share = ((x * dx + y * dy) / length2).clamp(0, 1)
    distance2 = (x - share * dx).square() + (y - share * dy).square()
    there = present[..., STARTS] * present[..., ENDS]
    return torch.exp(-0.5 / sigma**2 * distance2) * there[..., None, None]


def joints_of_maps(logits: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor]:
    """Read joints from the logits of drawn heatmaps, one map per joint and plane.

    [B, M, T, G, G] -> positions [B, T, V * J, D] in box coordinates, logits of presence [B, T, V * J]. A position is
    the centre of the squared map, in which the faint rest of the plane weighs nothing; a coordinate that two
    projections show is their mean. A joint is as present as its map's brightest pixel.
    """
    pixel = (torch.arange(config.grid, dtype=logits.dtype, device=logits.device) + 0.5) / config.grid
    mass = logits.sigmoid().square()
    total = mass.sum(dim=(-2, -1)).clamp(min=1e-12)
    centre = {0: (mass.sum(dim=-2) @ pixel) / total, 1: (mass.sum(dim=-1) @ pixel) / total}  # column, row: [B, M, T]
    presence = logits.amax(dim=(-2, -1))
    if config.dims == 2:
        return torch.stack([centre[0], centre[1]], dim=-1).transpose(1, 2), presence.transpose(1, 2)
    column, row = (each.unflatten(1, (3, J)) for each in (centre[0], centre[1]))
    seen: list[list[Tensor]] = [[], [], []]
    for plane, (a, b) in enumerate(planes_of(3)):
        seen[a].append(column[:, plane])
        seen[b].append(row[:, plane])
    joints = torch.stack([torch.stack(each).mean(dim=0) for each in seen], dim=-1)
    return joints.transpose(1, 2), presence.unflatten(1, (3, J)).mean(dim=1).transpose(1, 2)


def marginal(position: Tensor, grid: int, sigma: float) -> Tensor:
    """Return the Gaussian of each position along one axis: [...] in [0, 1) -> [..., grid], peak 1.

    The torch twin of `stream.motion.heatmap.marginal`.
    """
    pixel = torch.arange(grid, dtype=position.dtype, device=position.device) + 0.5
    return torch.exp(-0.5 * ((position.unsqueeze(-1) * grid - pixel) / sigma) ** 2)


def marginals(keypoints: Tensor, grid: int, sigma: float) -> tuple[Tensor, Tensor]:
    """Return the two factors of every heatmap, rows and columns: each [B, T, P * J, grid], presence in the columns.

    keypoints: [B, T, J, D + 1], box coordinates and presence; the joints of several cameras follow each other.
    """
    planes = planes_of(keypoints.shape[-1] - 1)
    present = keypoints[..., -1:]
    down = torch.cat([marginal(keypoints[..., row], grid, sigma) for _, row in planes], dim=2)
    across = torch.cat([marginal(keypoints[..., column], grid, sigma) * present for column, _ in planes], dim=2)
    return down, across
