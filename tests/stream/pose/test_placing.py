"""People placed before one camera: exactly where the body is known, wherever they stand, and not where they cannot."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.errors import SourceError
from stream.motion.projection import Camera
from stream.motion.skeleton import Array
from stream.pose.choice import Focal
from stream.pose.detection import Detection
from stream.pose.placing import GUESS, Lens
from stream.sources.demo import demo_pose

FOCAL = 1000.0
CAMERA = Camera.aimed("straight", (0, 0, 0), (0, 0, 1), FOCAL)
IMAGE = np.zeros((1080, 1920, 3), np.uint8)


def at(place: tuple[float, float, float]) -> NDArray[np.float64]:
    """Somebody, cm, whose hips are at a place before the camera."""
    joints = demo_pose(0, 0.4).joints.astype(np.float64)
    there: NDArray[np.float64] = joints - joints[11:13].mean(axis=0) + place
    return there


def seen(joints: NDArray[np.float64], size: float = 1.0) -> Detection:
    """Who stands there, with the body as a camera that is aimed at their hips sees it, `size` times as large."""
    px = CAMERA.project(joints)[0]
    hips = joints[11:13].mean(axis=0)
    middle = (joints[11:13, :2] / joints[11:13, 2:]).mean(axis=0)
    aimed = Camera.aimed("aimed", (0, 0, 0), (*middle, 1), FOCAL)
    # Of all cameras aimed there, the one whose turn is the least.
    x, y, z = aimed.R[2]
    least = np.array(
        [[1 - x * x / (1 + z), -x * y / (1 + z), -x], [-x * y / (1 + z), 1 - y * y / (1 + z), -y], [x, y, z]]
    )
    world = (joints - hips) @ least.T * size
    return Detection(px, world.astype(np.float32), np.full(17, 0.9, np.float32))


def place(detection: Detection, focal: Focal = FOCAL) -> Array:
    joints = Lens(focal).place(detection, IMAGE)
    assert joints is not None
    assert joints.dtype == np.float32
    return joints


@pytest.mark.parametrize("where", [(0, 0, 300), (150, 40, 300), (-120, -60, 250), (0, 100, 500)])
def test_a_known_body_is_placed_exactly(where: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(place(seen(at(where))), at(where), atol=0.1)


def test_who_is_smaller_than_taken_for_is_too_far_away_in_the_same_direction() -> None:
    joints = place(seen(at((80, 20, 300)), size=1.1))
    np.testing.assert_allclose(joints[11:13].mean(axis=0), np.array([80, 20, 300]) * 1.1, atol=1)


def test_joints_that_are_not_seen_say_nothing() -> None:
    detection = seen(at((0, 0, 300)))
    detection.image[13:] = 5000
    detection.confidence[13:] = 0.1
    np.testing.assert_allclose(place(detection), at((0, 0, 300)), atol=0.1)


def test_a_guess_is_sixty_degrees_along_the_longer_side() -> None:
    detection = seen(at((0, 0, 300)))
    np.testing.assert_array_equal(place(detection, "guess"), place(detection, GUESS * 1920))


def test_nobody_stands_behind_the_camera() -> None:
    detection = seen(at((0, 0, 300)))
    mirrored = Detection(np.array([1920, 1080], np.float32) - detection.image, detection.world, detection.confidence)
    assert Lens(FOCAL).place(mirrored, IMAGE) is None


@pytest.mark.parametrize(("focal", "degrees"), [(35.0, 176), (100_000.0, 1.1)])
def test_a_focal_length_that_is_not_in_pixels_is_told(focal: float, degrees: float) -> None:
    with pytest.raises(
        SourceError, match=f"1920 x 1080 px would be {degrees} degrees wide; give the focal length in px"
    ):
        Lens(focal).place(seen(at((0, 0, 300))), IMAGE)
