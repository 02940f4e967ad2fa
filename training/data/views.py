"""What a camera makes of bodies: random cameras, and those of a real studio with their distortion."""

from collections.abc import Sequence

import numpy as np

from stream.motion.clips import Mask
from stream.motion.projection import Camera
from stream.motion.skeleton import Array

AROUND = 100.0
"""How far from the middle of the studio a body may stand along either axis, cm."""


def virtual(
    joints: Array,
    rng: np.random.Generator,
    level: float,
    distance: tuple[float, float],
    elevation: tuple[float, float],
    roll: float,
) -> Array:
    """See bodies [B, T, 17, 3] through random cameras: [B, T, 17, 2], in cm at the distance of the origin.

    level: share of windows seen straight on, without perspective; distance in cm, angles in degrees.
    """
    batch = len(joints)
    plain = rng.random(batch) < level
    tilt = np.where(plain, 0, np.radians(rng.uniform(*elevation, size=batch)))[:, None, None]
    turn = np.where(plain, 0, np.radians(rng.uniform(-roll, roll, size=batch)))[:, None, None]
    x, y, z = np.moveaxis(joints, -1, 0)
    y, z = np.cos(tilt) * y + np.sin(tilt) * z, np.cos(tilt) * z - np.sin(tilt) * y
    x, y = np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y
    nearest = z.min(axis=(1, 2))
    away = np.maximum(rng.uniform(*distance, size=batch), 80 - nearest)[:, None, None]
    depth = np.where(plain[:, None, None], 1, 1 + z / away)
    return np.stack([x / depth, y / depth], axis=-1).astype(np.float32)


def calibrated(joints: Array, rng: np.random.Generator, groups: Sequence[Sequence[Camera]]) -> tuple[Array, Mask, Mask]:
    """See each body through one group of calibrated cameras, standing somewhere near the middle of their studio.

    joints: [B, T, 17, 3], cm. groups: one is drawn for every body; all have V cameras.
    Returns places [B, V, T, 17, 2], in cm at the body's mean distance; which are places at all; and which of these
    lie inside the image.
    """
    batch, frames, count, _ = joints.shape
    views = len(groups[0])
    floor = joints.copy()
    floor[..., 1] -= floor[..., 1].max(axis=(1, 2))[:, None, None]
    floor[..., [0, 2]] += rng.uniform(-AROUND, AROUND, (batch, 1, 1, 2)).astype(np.float32)
    drawn = rng.integers(len(groups), size=(batch,))
    places = np.zeros((batch, views, frames, count, 2), np.float32)
    valid = np.zeros(places.shape[:-1], bool)
    inside = np.zeros(places.shape[:-1], bool)
    for b in range(batch):
        for v, camera in enumerate(groups[drawn[b]]):
            px, seen = camera.project(floor[b].reshape(-1, 3))
            depth = float((floor[b].mean(axis=(0, 1)) @ camera.R[2] + camera.t[2]).item())
            places[b, v] = (px * (max(depth, 1.0) / camera.K[0, 0])).reshape(frames, count, 2)
            valid[b, v] = seen.reshape(frames, count)
            within = ((px >= 0) & (px < np.array(camera.size))).all(axis=-1)
            inside[b, v] = (seen & within).reshape(frames, count)
    return places, valid, inside
