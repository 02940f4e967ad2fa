"""The body of 17 joints and the maps of other skeletons onto it: the one place where joint orders live.

Panoptic's is held one floor below, where the engine's commands read recordings too.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.spec import FROM_PANOPTIC19 as FROM_PANOPTIC19

Array = NDArray[np.float32]

JOINTS = (
    "nose",
    "l-eye",
    "r-eye",
    "l-ear",
    "r-ear",
    "l-shoulder",
    "r-shoulder",
    "l-elbow",
    "r-elbow",
    "l-wrist",
    "r-wrist",
    "l-hip",
    "r-hip",
    "l-knee",
    "r-knee",
    "l-ankle",
    "r-ankle",
)
"""Names of the 17 joints in COCO order. Left is the person's own left."""

J = len(JOINTS)

BONES = (
    (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10),
    (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip
"""Pairs of joints to draw as limbs."""

MIRROR = np.array([0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15])
"""Joint order of a mirrored body: left and right swapped."""

FROM_MEDIAPIPE33 = np.array([0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28])
"""Index into MediaPipe's 33 pose landmarks per joint."""

SEEN = 0.3
"""A joint counts as seen from this confidence on."""


@dataclass(frozen=True, slots=True)
class Pose:
    """One person at one instant.

    joints: float32 [17, 2] in pixels (x right, y down) or [17, 3] in centimetres (y down).
    confidence: float32 [17] in 0..1; below `SEEN` the position means nothing.
    """

    joints: Array
    confidence: Array
