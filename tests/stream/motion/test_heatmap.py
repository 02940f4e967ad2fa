"""Heatmaps: where the peak is, what a missing joint leaves, and that both drawings agree."""

import numpy as np
import torch

from stream.motion.heatmap import PLANES, draw, marginal
from training.model.heatmaps import marginals

GRID, SIGMA = 64, 2.0


def keypoints(dims: int, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).uniform(0, 0.999, (2, 3, 17, dims + 1)).astype(np.float32)
    points[..., -1] = points[..., -1] > 0.2
    return points


def test_the_peak_is_at_the_joint_rows_downward() -> None:
    points = keypoints(2)
    maps = draw(points, GRID, SIGMA)
    assert maps.shape == (2, 17, 3, GRID, GRID)
    for b, t, j in np.argwhere(points[..., -1] == 1):
        row, column = np.unravel_index(maps[b, j, t].argmax(), (GRID, GRID))
        assert abs((column + 0.5) / GRID - points[b, t, j, 0]) <= 0.5 / GRID + 1e-6
        assert abs((row + 0.5) / GRID - points[b, t, j, 1]) <= 0.5 / GRID + 1e-6
    assert 0.9 < maps.max() <= 1
    missing = np.moveaxis(points[..., -1] == 0, 2, 1)
    assert (maps[missing] == 0).all()


def test_three_dimensions_are_three_projections() -> None:
    points = keypoints(3)
    maps = draw(points, GRID, SIGMA)
    assert maps.shape == (2, 51, 3, GRID, GRID)
    for plane, axes in enumerate(PLANES):
        flat = np.concatenate([points[..., list(axes)], points[..., -1:]], axis=-1)
        np.testing.assert_allclose(maps[:, plane * 17 : plane * 17 + 17], draw(flat, GRID, SIGMA), atol=1e-6)


def test_the_drawing_inside_the_graph_is_the_same() -> None:
    for dims in (2, 3):
        points = keypoints(dims)
        down, across = marginals(torch.from_numpy(points), GRID, SIGMA)
        inside = (down.unsqueeze(-1) * across.unsqueeze(-2)).transpose(1, 2).numpy()
        np.testing.assert_allclose(inside, draw(points, GRID, SIGMA), atol=1e-5)


def test_a_frame_is_drawn_by_itself() -> None:
    points = keypoints(2)
    np.testing.assert_array_equal(draw(points[:, :1], GRID, SIGMA), draw(points, GRID, SIGMA)[:, :, :1])


def test_the_marginal_is_a_gaussian_of_sigma_pixels() -> None:
    line = marginal(np.array([0.5], np.float32), GRID, SIGMA)[0]
    pixel = np.arange(GRID) + 0.5 - GRID / 2
    variance = (line * pixel**2).sum() / line.sum()
    np.testing.assert_allclose(variance, SIGMA**2, rtol=1e-3)
