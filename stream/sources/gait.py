"""A body that walks in a circle, or stands, and waves: joints as a formula of a few phases.

The figures are harmonics of the walking cycle, fitted to motion capture of people who walk at 1.2 m/s. The
ankles follow their measured way over the floor, so feet stay where they are put; pelvis, trunk and arms
follow their measured angles; knees follow from the bones, whose lengths never change.
"""

import numpy as np
from numpy.typing import NDArray

from stream.motion.skeleton import J

Real = NDArray[np.float64]

HEIGHT = 2.01
"""Height of a person. Here and below lengths are in legs: hip to knee to ankle along the bones."""

STRIDE = 1.59
"""What a walking person covers in a cycle, that is in two steps."""

THIGH, SHANK, UPPER_ARM, FOREARM = 0.511, 0.489, 0.331, 0.338
HIP, SHOULDER, TRUNK = 0.11, 0.236, 0.59  # from the middle to the side; from mid-hip to neck

_FACE = np.array(  # nose, left eye and ear, from the neck: forward, up, left
    [(0.163, 0.207, 0.0), (0.136, 0.248, 0.038), (0.034, 0.224, 0.09)]
)

# Channels of a cycle that begins as the left heel strikes; lengths in legs, angles in degrees.
# An angle of a limb is its swing forward, from hanging down, then its spread to the person's side.
_WALK = np.array(
    [  # mean    cos 1    sin 1    cos 2    sin 2    cos 3    sin 3    cos 4    sin 4
        [-0.052, 0.3527, 0.0192, 0.0163, -0.0522, 0.0102, -0.0128, -0.0061, -0.0108],  # ankle: forward
        [0.148, -0.0394, -0.0654, -0.0237, 0.0342, 0.0148, 0.0029, 0.0001, -0.0041],  # ankle: up
        [0.054, 0.0072, -0.0152, -0.0033, 0.0019, -0.001, -0.004, -0.0017, 0.0006],  # ankle: out
        [-2.3, -6.6, 0.7, 0.2, -0.2, 0, 0, 0, 0],  # upper arm: swing
        [3.5, -4.9, 0.7, 0.3, -0.7, 0, 0, 0, 0],  # upper arm: spread
        [23.8, -13.0, -0.3, 0.8, -2.3, 0, 0, 0, 0],  # forearm: swing
        [8.5, -1.2, -0.2, -0.1, 0.4, 0, 0, 0, 0],  # forearm: spread
        [0, 0, 0, -0.0079, 0.0172, 0, 0, 0, 0],  # mid-hip: forward
        [1.046, 0, 0, -0.0114, 0.0041, 0, 0, -0.0022, -0.0011],  # mid-hip: up
        [0, -0.0096, 0.026, 0, 0, -0.0023, 0.0015, 0, 0],  # mid-hip: left
        [0, 4.8, 0.3, 0, 0, 0, 0, 0, 0],  # pelvis: left side forward
        [0, -3.4, 3.6, 0, 0, 0, 0, 0, 0],  # pelvis: left side up
        [0, -2.5, 0.6, 0, 0, 0, 0, 0, 0],  # shoulders: left side forward
        [0, -1.7, 0.1, 0, 0, 0, 0, 0, 0],  # shoulders: left side up
        [-3.0, 0, 0, 0.7, -0.9, 0, 0, 0, 0],  # trunk: leans forward
        [0, 1.0, -0.6, 0, 0, 0, 0, 0, 0],  # trunk: leans left
        [0, 0, 0, 0, 0, 0, 0, 0, 0],  # head: turned left
    ]
)

# The same for someone who stands and shifts their weight, a cycle being one sway to the left and back.
_STAND = np.zeros_like(_WALK)
_STAND[:, 0] = 0, 0.098, 0.12, -2, 5, 16, 7, 0.02, 1.075, 0, 0, 0, 0, 0, -1.5, 0, 0
_STAND[[9, 10, 11, 12, 14, 15, 16], 2] = 0.02, 2.5, 0.8, 4, 1, 0.8, 14
_STAND[[3, 5], 1] = 1.5, 3

_RAISED = np.array([28.0, 112.0, 165.0, 8.0])  # upper arm and forearm of someone who waves above the head
_BEAT = np.array([2.0, 5.0, 0.0, 27.0])  # and how far they swing to and fro

_SIDES = np.array([1.0, -1.0])  # left, right


def body(leg: Real, phase: Real, walking: Real, radius: Real, raised: Real, beat: Real) -> Real:
    """Joints of P people, [P, 17, 3] cm: forward, up and left of the point of the way where each of them is.

    All [P] except `raised`: leg in cm; phase of the steps or of the sway in cycles; walking 0 or 1; radius in
    cm of the circle they walk on, to the left; raised [P, 2], left and right arm, 0 (hanging) to 1 (waving);
    beat of the waving in cycles.
    """
    cycle = 2 * np.pi * (phase[:, None] + np.array([0.0, 0.5]))  # the right side is half a cycle behind
    waves = [f(k * cycle) for k in range(1, 5) for f in (np.cos, np.sin)]
    basis = np.stack([np.ones_like(cycle), *waves], axis=-1)
    share = walking[:, None, None]
    both = share * (basis @ _WALK.T) + (1 - share) * (basis @ _STAND.T)  # [P, side, channel]
    middle = both[:, 0]

    midhip = middle[:, 7:10]
    lean = np.tan(np.radians(middle[:, 14:16]))
    spine = np.stack([lean[:, 0], np.ones(len(leg)), lean[:, 1]], axis=-1)
    neck = midhip + TRUNK * spine / np.linalg.norm(spine, axis=-1, keepdims=True)
    hips = midhip[:, None] + HIP * _across(middle[:, 10], middle[:, 11])
    shoulders = neck[:, None] + SHOULDER * _across(middle[:, 12], middle[:, 13])

    ankles = _around(both[..., :3], radius / leg)
    to_and_fro = np.sin(2 * np.pi * beat)[:, None, None] * _BEAT
    lift = raised[..., None]
    arms = (1 - lift) * both[..., 3:7] + lift * (_RAISED + to_and_fro * _SIDES[:, None])
    elbows = shoulders + UPPER_ARM * _hanging(arms[..., 0], arms[..., 1])
    wrists = elbows + FOREARM * _hanging(arms[..., 2], arms[..., 3])

    joints = np.empty((len(leg), J, 3))
    joints[:, :5] = neck[:, None] + _head(middle[:, 16])
    joints[:, 5:] = np.concatenate([shoulders, elbows, wrists, hips, _knees(hips, ankles), ankles], axis=1)
    return joints * leg[:, None, None]


def _across(yaw: Real, roll: Real) -> Real:
    """Unit vectors [P, 2, 3] to both sides of a girdle, its left turned forward and tilted up by degrees."""
    yaw, roll = np.radians(yaw), np.radians(roll)
    left = np.stack([np.cos(roll) * np.sin(yaw), np.sin(roll), np.cos(roll) * np.cos(yaw)], axis=-1)
    both: Real = left[:, None] * _SIDES[:, None]
    return both


def _hanging(swing: Real, spread: Real) -> Real:
    """Unit vectors [P, 2, 3] along limbs that swing forward from hanging down, and spread, by degrees."""
    swing, spread = np.radians(swing), np.radians(spread)
    forward, up = np.cos(spread) * np.sin(swing), -np.cos(spread) * np.cos(swing)
    return np.stack([forward, up, np.sin(spread) * _SIDES], axis=-1)


def _around(feet: Real, radius: Real) -> Real:
    """Put [P, 2, 3], the way forward, height and distance outward, onto a circle to the left."""
    angle = feet[..., 0] / radius[:, None]
    inward = radius[:, None] - feet[..., 2] * _SIDES
    return np.stack([inward * np.sin(angle), feet[..., 1], radius[:, None] - inward * np.cos(angle)], axis=-1)


def _knees(hips: Real, ankles: Real) -> Real:
    """The knees of bent legs, forward and a little outward of the line from hip to ankle."""
    line = ankles - hips
    length = np.linalg.norm(line, axis=-1, keepdims=True)
    line = line / length
    along = (THIGH**2 - SHANK**2 + length**2) / (2 * length)
    ahead = np.stack([np.ones(2), np.zeros(2), 0.1 * _SIDES], axis=-1)
    ahead = ahead - (ahead * line).sum(axis=-1, keepdims=True) * line
    ahead = ahead / np.linalg.norm(ahead, axis=-1, keepdims=True)
    knees: Real = hips + along * line + np.sqrt(THIGH**2 - along**2) * ahead
    return knees


def _head(turned: Real) -> Real:
    """Nose, eyes and ears [P, 5, 3] from the neck, the head turned left by degrees."""
    face = _FACE[[0, 1, 1, 2, 2]] * np.array([[1, 1, side] for side in (1, 1, -1, 1, -1)])
    cos, sin = np.cos(np.radians(turned))[:, None], np.sin(np.radians(turned))[:, None]
    forward, left = face[:, 0] * cos - face[:, 2] * sin, face[:, 0] * sin + face[:, 2] * cos
    return np.stack([forward, np.broadcast_to(face[:, 1], forward.shape), left], axis=-1)
