"""Bodies that were never recorded: limbs of one window on the body of another, longer or shorter, turned at the root.

Recorded motion is a few people doing a few things; what their arms do while their legs walk is mostly one habit. A
tokenizer that has only seen habits decodes the next person's badly. Exchanged limbs keep real movement and lose the
habit.
"""

import numpy as np
from numpy.typing import NDArray

from stream.motion.skeleton import Array

LIMBS = ((5, (7, 9)), (6, (8, 10)), (11, (13, 15)), (12, (14, 16)))
"""Root joint of each limb and the joints that hang from it: arms, then legs, left before right."""

UPPER = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
"""Joints above the hips, that hang from the middle between them."""

HIPS, SHOULDERS = (11, 12), (5, 6)


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
