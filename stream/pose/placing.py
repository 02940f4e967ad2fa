"""Where people stand before one camera: from their joints in the picture and the shape of their bodies in cm.

The camera's place is the origin: x right, y down, z away from it. Nobody's height is known: MediaPipe makes everybody
of about the same, so somebody who is a tenth smaller is placed a tenth too far away. Directions do not depend on it.
"""

import numpy as np
from numpy.typing import NDArray

from stream.errors import SourceError
from stream.motion.projection import NEAR
from stream.motion.skeleton import SEEN, Array
from stream.pose.choice import Focal
from stream.pose.crop import Image
from stream.pose.detection import Detection

GUESS = 0.87
"""Focal length over the longer side of the picture where it is not known: 60 degrees across. Videos of phones and
webcams have 50 to 70."""

SHORTEST, LONGEST = 0.3, 10.0
"""The same of what is taken for a focal length: 118 and 6 degrees."""

_Rays = NDArray[np.float64]


class Lens:
    """Places people by a focal length; the middle of the picture is taken for where the camera looks."""

    def __init__(self, focal: Focal) -> None:
        self._focal = focal

    @property
    def label(self) -> str:
        """What it is, for people."""
        return "a guessed focal length" if self._focal == "guess" else f"a focal length of {self._focal:g} px"

    def place(self, seen: Detection, image: Image) -> Array | None:
        """Return the joints, float32 [17, 3] cm before the camera; None where that would be behind it.

        seen: with world coordinates, in px of `image`. Raises SourceError when no camera takes such an image with this
        focal length.
        """
        assert seen.world is not None  # only estimators of 3D poses are asked for places
        height, width = image.shape[:2]
        focal = GUESS * max(height, width) if self._focal == "guess" else self._focal
        if not SHORTEST <= focal / max(height, width) <= LONGEST:
            degrees = 2 * np.degrees(np.arctan(max(height, width) / 2 / focal))
            raise SourceError(
                f"--focal {focal:g}: pictures of {width} x {height} px would be {degrees:.3g} degrees wide; give the "
                "focal length in px of these pictures, or guess"
            )
        flat = (seen.image.astype(np.float64) - (width / 2, height / 2)) / focal
        rays = np.column_stack([flat, np.ones(len(flat))])
        body = seen.world @ _turn_to(rays[11:13].mean(axis=0)).T
        placed = body + _root(body, rays, np.where(seen.confidence >= SEEN, seen.confidence, 0.0))
        return placed.astype(np.float32) if placed[:, 2].min() > NEAR else None


def _root(body: _Rays, rays: _Rays, weights: NDArray[np.floating]) -> _Rays:
    """Return the shift [3] that brings each joint of a body [17, 3] nearest to its ray [17, 3], whose z are 1.

    Linear least squares on x - u z = 0 and y - v z = 0 of each joint after the shift.
    """
    zero = np.zeros(len(rays))
    across = np.concatenate(
        [np.column_stack([zero + 1, zero, -rays[:, 0]]), np.column_stack([zero, zero + 1, -rays[:, 1]])]
    )
    missing = np.concatenate([rays[:, 0] * body[:, 2] - body[:, 0], rays[:, 1] * body[:, 2] - body[:, 1]])
    weight = np.tile(weights, 2)
    shift: _Rays = np.linalg.lstsq(across * weight[:, None], missing * weight)[0]
    return shift


def _turn_to(ray: _Rays) -> _Rays:
    """Return the rotation [3, 3] that turns the axis of a camera to a ray: bodies come as seen by one aimed at them."""
    x, y, z = ray / np.linalg.norm(ray)
    return np.array(
        [[1 - x * x / (1 + z), -x * y / (1 + z), x], [-x * y / (1 + z), 1 - y * y / (1 + z), y], [-x, -y, z]]
    )
