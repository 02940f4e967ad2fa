"""Bodies that were never recorded, and cameras that never saw them.

Recorded motion is a few people doing a few things; what their arms do while their legs walk is mostly one habit. A
tokenizer that has only seen habits decodes the next person's badly. Exchanged limbs (of one window on the body of
another, longer or shorter, turned at the root) keep real movement and lose the habit. Cameras are random ones, or those
of a real studio with their distortion.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream.motion.clips import Mask
from stream.motion.projection import Camera
from stream.motion.skeleton import Array

LIMBS = ((5, (7, 9)), (6, (8, 10)), (11, (13, 15)), (12, (14, 16)))
"""Root joint of each limb and the joints that hang from it: arms, then legs, left before right."""

UPPER = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
"""Joints above the hips, that hang from the middle between them."""

HIPS, SHOULDERS = (11, 12), (5, 6)


AROUND = 100.0
"""How far from the middle of the studio a body may stand along either axis, cm."""


def facing(joints: Array) -> NDArray[np.float64]:
    """Return the heading of each body at each instant, radians: joints [B, T, J, 3] -> [B, T].

    The direction from the right hip and shoulder to the left ones, seen from above.
    """
    left = joints[..., HIPS[0], :] + joints[..., SHOULDERS[0], :]
    right = joints[..., HIPS[1], :] + joints[..., SHOULDERS[1], :]
    across = left - right
    return np.arctan2(across[..., 0], across[..., 2])


def turn(joints: Array, heading: NDArray[np.float64]) -> Array:
    """Turn bodies about the vertical. joints [B, T, J, 3]; heading [B] or [B, T], radians."""
    heading = heading.reshape(*heading.shape, *[1] * (3 - heading.ndim))
    cos, sin = np.cos(heading).astype(np.float32), np.sin(heading).astype(np.float32)
    x, y, z = np.moveaxis(joints, -1, 0)
    return np.stack([cos * x + sin * z, y, cos * z - sin * x], axis=-1)


def exchange(joints: Array, donors: Array, rng: np.random.Generator, share: float) -> Array:
    """Put parts of the donors on the bodies: each arm and leg and the upper body with probability `share`.

    joints, donors: [B, T, J, 3]. The parts keep their place relative to the way the body faces at each instant.
    """
    donors = turn(donors, facing(joints) - facing(donors))
    result = joints.copy()
    middle = joints[:, :, HIPS].mean(axis=2, keepdims=True) - donors[:, :, HIPS].mean(axis=2, keepdims=True)
    taken = (rng.random(len(joints)) < share)[:, None, None, None]
    result[:, :, UPPER] = np.where(taken, donors[:, :, UPPER] + middle, joints[:, :, UPPER])
    for root, limb in LIMBS:
        taken = (rng.random(len(joints)) < share)[:, None, None, None]
        # Where the donor's is not taken, the limb follows its root, which may have become another's.
        source = np.where(taken, donors, joints)
        result[:, :, limb] = source[:, :, limb] - source[:, :, (root,)] + result[:, :, (root,)]
    return result


def bend(joints: Array, rng: np.random.Generator, degrees: float, length: float) -> Array:
    """Turn every limb about its root by a random angle about a random axis, and change its length.

    degrees: standard deviation of the angle; length: largest change as a share of the limb's.
    """
    result = joints.copy()
    for root, limb in LIMBS:
        around = joints[:, :, (root,)]
        rotation = rotations(rng, len(joints), degrees) * rng.uniform(1 - length, 1 + length, (len(joints), 1, 1))
        result[:, :, limb] = (joints[:, :, limb] - around) @ rotation[:, None].astype(np.float32) + around
    return result


def lean(joints: Array, rng: np.random.Generator, degrees: float) -> Array:
    """Turn whole bodies about their window's centre by a random angle about a random axis."""
    centre = joints.mean(axis=(1, 2), keepdims=True)
    return (joints - centre) @ rotations(rng, len(joints), degrees)[:, None].astype(np.float32) + centre


def rotations(rng: np.random.Generator, count: int, degrees: float) -> NDArray[np.float64]:
    """Return rotation matrices [count, 3, 3] about uniform axes by normal angles (Rodrigues' formula)."""
    axis = rng.standard_normal((count, 3))
    x, y, z = (axis / np.linalg.norm(axis, axis=-1, keepdims=True)).T
    zero = np.zeros(count)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(count, 3, 3)
    angle = np.radians(degrees * rng.standard_normal(count))[:, None, None]
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


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
