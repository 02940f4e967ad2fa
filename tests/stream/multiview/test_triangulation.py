"""Places from several cameras: exact on exact joints, and people matched by where they meet."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.motion.projection import Camera
from stream.motion.skeleton import Pose
from stream.multiview.matching import Track, match_people
from stream.multiview.triangulation import disagreement, triangulate

CAMERAS = [
    Camera(name, camera.K, camera.R, camera.t, (-0.05, 0.14, 0.001, -0.001, 0.0), camera.size)
    for name, camera in (
        (name, Camera.aimed(name, eye, (0, -90, 0), 1200.0))
        for name, eye in {"a": (400, -150, 0), "b": (0, -150, 400), "c": (-350, -200, 100)}.items()
    )
]  # with a lens' distortion


def body(x: float, seed: int) -> NDArray[np.float64]:
    """Joints, cm, of somebody at a place."""
    rng = np.random.default_rng(seed)
    return rng.uniform((x - 25, -170, -25), (x + 25, 0, 25), (17, 3))


def seen(places: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.stack([camera.project(places)[0] for camera in CAMERAS])


def test_exact_joints_give_their_places_and_no_disagreement() -> None:
    places, confidence = body(10, 0), np.ones((3, 17), np.float32)
    found = triangulate(CAMERAS, seen(places), confidence)
    np.testing.assert_allclose(found, places, atol=0.05)
    assert disagreement(CAMERAS, seen(places), confidence, found).max() < 0.05


def test_a_pixel_off_is_so_many_centimetres_at_that_depth() -> None:
    places, confidence = np.array([[0.0, -90.0, 0.0]]), np.ones((3, 1), np.float32)
    joints = seen(places) + np.array((12, 0), np.float32)
    away = disagreement(CAMERAS, joints, confidence, places)[:, 0]
    depths = [float((camera.R @ places[0] + camera.t)[2]) for camera in CAMERAS]
    np.testing.assert_allclose(away, 12 * np.array(depths) / 1200, rtol=0.01)


def test_joints_not_seen_have_no_say() -> None:
    places, confidence = body(0, 1), np.ones((3, 17), np.float32)
    joints = seen(places)
    joints[0, 3], confidence[0, 3] = 9999, 0.1
    joints[1, 4], joints[2, 5] = np.nan, np.nan
    confidence[:2, 6] = 0.0
    found = triangulate(CAMERAS, joints, confidence)
    np.testing.assert_allclose(np.delete(found, 6, 0), np.delete(places, 6, 0), atol=0.05)
    assert np.isnan(found[6]).all()
    away = disagreement(CAMERAS, joints, confidence, found)
    assert np.isnan(away[0, 3])
    assert np.isnan(away[1, 4])
    assert np.isnan(away[:, 6]).all()
    assert np.nanmax(away) < 0.05


@pytest.mark.parametrize("noise", [0.0, 4.0])
def test_people_are_matched_across_cameras(noise: float) -> None:
    """Two people; the second is seen by two cameras, and by one of them under two numbers, one after the other."""
    rng = np.random.default_rng(2)
    tracks: list[dict[int, Track]] = [{}, {}, {}]
    one: list[dict[int, Pose]] = [{}, {}, {}]
    other: list[dict[int, Pose]] = [{}, {}, {}]
    for tick in range(12):
        for person, x in ((one, -60 + 2 * tick), (other, 70 - tick)):
            for view, joints in enumerate(seen(body(x, tick))):
                moved = (joints + rng.normal(0, noise, joints.shape)).astype(np.float32)
                person[view][tick] = Pose(moved, np.ones(17, np.float32))
    for view in range(3):
        tracks[view][view] = one[view]
    tracks[0][7] = other[0]
    tracks[2][8] = {tick: other[2][tick] for tick in range(6)}
    tracks[2][9] = {tick: other[2][tick] for tick in range(6, 12)}
    assert match_people(CAMERAS, tracks) == [{0: [0], 1: [1], 2: [2]}, {0: [7], 2: [8, 9]}]
