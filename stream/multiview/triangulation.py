"""Joints seen by several cameras to places in the room, and how well those fit what each camera saw."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.motion.projection import Camera
from stream.motion.skeleton import SEEN, Array

Places = NDArray[np.float64]

OUTLIER = 8.0
"""A camera that sees a joint further away, cm, from where the others see it is not believed: it sees somebody else's
arm, or guesses at a hidden one. On four cameras 5 % of the joints lie beyond it, and 10 cm left the mean at 3.1 cm."""


def triangulate(cameras: Sequence[Camera], joints: Array, confidence: Array) -> Places:
    """Return the places, cm [N, 3], of N points seen by C cameras; NaN where fewer than two see a point.

    joints: [C, N, 2] px; confidence: [C, N], the weight of each; below `SEEN`, or where joints are NaN, none.
    Linear least squares on normalised rays (Hartley and Zisserman, Multiple View Geometry, 12.2).
    """
    weights = np.where((confidence >= SEEN) & np.isfinite(joints).all(axis=-1), confidence, 0.0)
    rows = []
    for camera, seen, weight in zip(cameras, joints, weights, strict=True):
        px = np.where(weight[:, None] > 0, seen, camera.K[:2, 2]).astype(np.float64)
        x, y = cv2.undistortPoints(px[:, None], camera.K, camera.distortion)[:, 0].T
        P = np.column_stack([camera.R, camera.t])
        rows.append(weight[:, None] * (x[:, None] * P[2] - P[0]))
        rows.append(weight[:, None] * (y[:, None] * P[2] - P[1]))
    # The smallest singular vector of each point's equations [2 C, 4].
    solution = np.linalg.svd(np.stack(rows, axis=1))[2][:, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        places: Places = solution[:, :3] / solution[:, 3:]
    places[(weights > 0).sum(axis=0) < 2] = np.nan
    return places


def disagreement(cameras: Sequence[Camera], joints: Array, confidence: Array, places: Places) -> Places:
    """Return how far, cm [C, N] at the depth of the point, each camera saw it from where it is; NaN where it did not.

    Arguments as for `triangulate`, and its result.
    """
    distances = np.full(confidence.shape, np.nan)
    known = np.asarray(np.isfinite(places).all(axis=1))
    for row, camera in enumerate(cameras):
        px, ahead = camera.project(np.where(known[:, None], places, 0.0))
        depth = (np.where(known[:, None], places, 0.0) @ camera.R.T + camera.t)[:, 2]
        error = np.linalg.norm(joints[row] - px, axis=1) * depth / (camera.K[0, 0] + camera.K[1, 1]) * 2
        valid = known & ahead & (confidence[row] >= SEEN) & np.isfinite(error)
        distances[row] = np.where(valid, error, np.nan)
    return distances


def triangulate_robustly(cameras: Sequence[Camera], joints: Array, confidence: Array) -> tuple[Places, Array]:
    """Return places as `triangulate` does, and the confidence [C, N] of the joints that they rest on, 0 of outliers.

    Where some camera is an `OUTLIER`, the camera without which the others agree best is left out, and another one as
    long as three or more are left; where two disagree, nobody knows the place.
    """
    believed = np.where(np.isfinite(joints).all(axis=-1) & (confidence >= SEEN), confidence, np.float32(0))
    for _ in range(len(cameras) - 1):
        places = triangulate(cameras, joints, believed)
        worst = _worst(cameras, joints, believed, places)
        doubtful = worst > OUTLIER
        if not doubtful.any():
            break
        believed[:, doubtful] = _without_the_worst(cameras, joints[:, doubtful], believed[:, doubtful])
    return triangulate(cameras, joints, believed), believed


def _worst(cameras: Sequence[Camera], joints: Array, confidence: Array, places: Places) -> Places:
    """Largest disagreement, cm [N]; 0 where there is none."""
    worst: Places = np.nan_to_num(disagreement(cameras, joints, confidence, places)).max(axis=0)
    return worst


def _without_the_worst(cameras: Sequence[Camera], joints: Array, confidence: Array) -> Array:
    """Return the confidence [C, N] without the camera whose absence leaves the least disagreement; of two, neither."""
    best, chosen = np.full(joints.shape[1], np.inf), np.zeros_like(confidence)
    for view in range(len(cameras)):
        rest = confidence.copy()
        rest[view] = 0
        left = _worst(cameras, joints, rest, triangulate(cameras, joints, rest))
        better = (confidence[view] > 0) & ((rest > 0).sum(axis=0) >= 2) & (left < best)
        best[better], chosen[:, better] = left[better], rest[:, better]
    return chosen
