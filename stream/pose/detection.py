"""What a landmarker reports of one person, and how alike two such reports are."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stream.motion.projection import Dims
from stream.motion.skeleton import SEEN, Array, Pose
from stream.pose.crop import Crop, Image, Rectangle

HEAD_AND_SHOULDERS = slice(0, 7)

FEWEST_JOINTS = 5
"""Joints that have to be seen for a pose to count as one."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One person in one image.

    image: float32 [17, 2], px of the whole image. world: float32 [17, 3], cm from the middle of the hips, y down; None
    from an estimator of 2D poses.
    confidence: float32 [17], 0..1.
    """

    image: Array
    world: Array | None
    confidence: Array

    def pose(self, dims: Dims) -> Pose:
        """Return the joints in px for 2d, in cm for 3d, which needs `world`."""
        joints = self.image if dims == "2d" else self.world
        assert joints is not None  # an estimator of 2D poses is not asked for 3D ones (`stream.pose.choice`)
        return Pose(joints, self.confidence)


class Follower(Protocol):
    """Sees one person from frame to frame; what it saw last tells it where to look."""

    def detect(self, image: Image, crop: Crop, time: float, only: Rectangle | None = None) -> Detection | None:
        """Find the person in a crop of a BGR image, `time` in seconds.

        only: forget what was before and look for the person within this part of the crop.
        """

    @property
    def failures(self) -> int:
        """How often it had to start anew after an error."""

    def close(self) -> None:
        """Release its memory."""


class Finder(Protocol):
    """Sees everybody in a single image."""

    def find(self, image: Image, view: Crop) -> list[Detection]:
        """Find people in a square of a BGR image; some may be reported twice, some may be none."""

    def close(self) -> None:
        """Release its memory."""


def extent(joints: Array) -> float:
    """Larger side, px, of the rectangle around joints [17, 2]."""
    return float(np.ptp(joints, axis=0).max())


def pose_distance(one: Array, other: Array) -> float:
    """Mean distance of the heads and shoulders of joints [17, 2], as a share of the bodies' mean extent.

    Arms and legs of two people cross and touch, and guesses at hidden ones meet; two heads and two pairs of
    shoulders at the same place are one person's.
    """
    distances = np.linalg.norm((one - other)[HEAD_AND_SHOULDERS], axis=1)
    return float(distances.mean()) * 2 / max(extent(one) + extent(other), 1.0)


def is_plausible(detection: Detection | None, image: Image) -> bool:
    """Whether it is a person: some joints are seen, the middle of them within the image."""
    if detection is None:
        return False
    seen = detection.confidence >= SEEN
    if seen.sum() < FEWEST_JOINTS:
        return False
    x, y = detection.image[seen].mean(axis=0)
    height, width = image.shape[:2]
    return bool(0 <= x < width and 0 <= y < height)
