"""Heatmaps: one Gaussian per joint on a square grid, and the three orthographic projections of a 3D pose."""

import numpy as np

from stream.motion.skeleton import Array

PLANES = ((0, 1), (2, 1), (0, 2))
"""Column and row axis of each projection of a 3D pose: XY from the front, ZY from the side, XZ from above."""


def planes_of(dims: int) -> tuple[tuple[int, int], ...]:
    """Return (column axis, row axis) of each heatmap plane: one for 2D, the three projections for 3D."""
    return PLANES if dims == 3 else PLANES[:1]


def marginal(position: Array, grid: int, sigma: float) -> Array:
    """Return the Gaussian of each position along one axis: [...] in [0, 1) -> float32 [..., grid], peak 1.

    sigma is in pixels of the grid; pixel i is centred on (i + 0.5) / grid.
    """
    pixel = np.arange(grid, dtype=np.float32) + 0.5
    return np.exp(-0.5 * ((position[..., None] * grid - pixel) / sigma) ** 2).astype(np.float32)


def draw(keypoints: Array, grid: int, sigma: float) -> Array:
    """Draw the heatmaps of a window.

    keypoints: float32 [B, T, J, D + 1], box coordinates and presence, as from `box.to_keypoints`.
    Returns float32 [B, P * J, T, grid, grid] in 0..1, rows downward, with P = 1 plane for D = 2 and 3 for D = 3.
    A missing joint's map is empty.
    """
    present = keypoints[..., -1, None]
    maps = []
    for column, row in planes_of(keypoints.shape[-1] - 1):
        across = marginal(keypoints[..., column], grid, sigma) * present
        down = marginal(keypoints[..., row], grid, sigma)
        maps.append(down[..., :, None] * across[..., None, :])
    return np.moveaxis(np.concatenate(maps, axis=2), 1, 2)
