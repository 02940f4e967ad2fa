"""Projection against OpenCV, and which points a view sees."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.motion.projection import Camera, OrthographicFront, look

# Figures of the size that real HD cameras of a dome have.
K = np.array([[1395.0, 0, 949.0], [0, 1392.0, 567.0], [0, 0, 1]])
DISTORTION = [-0.2817, 0.1681, -0.0002, 0.00002, -0.0372]


def rotation(x: float, y: float, z: float) -> np.ndarray:
    matrix, _ = cv2.Rodrigues(np.array([x, y, z]))
    return np.asarray(matrix)


def opencv(camera: Camera, points: np.ndarray) -> np.ndarray:
    # The turn is made here: OpenCV's way back from a matrix to a turn takes the smallest ones for none.
    before = points @ camera.R.T + camera.t
    px, _ = cv2.projectPoints(before.reshape(-1, 1, 3), np.zeros(3), np.zeros(3), camera.K, camera.distortion)
    return np.asarray(px).reshape(-1, 2)


def points_in_sight(camera: Camera, n: int, seed: int) -> np.ndarray:
    """World points that fill the image of a camera and some of its surroundings, 0.5 to 8 m away."""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(50, 800, n)
    seen = np.stack([*(rng.uniform(-0.9, 0.9, (2, n)) * depth), depth], axis=1)
    return np.asarray((seen - camera.t) @ camera.R)


@settings(max_examples=50, derandomize=True)
@given(
    turns=st.tuples(*[st.floats(-3, 3)] * 3),
    t=st.tuples(*[st.floats(-300, 300)] * 3),
    distortion=st.tuples(
        st.floats(-0.35, 0.1), st.floats(0, 0.2), *[st.floats(-0.001, 0.001)] * 2, st.floats(-0.05, 0.05)
    ),
)
def test_projects_like_opencv(
    turns: tuple[float, float, float], t: tuple[float, float, float], distortion: tuple[float, ...]
) -> None:
    camera = Camera("any", K, rotation(*turns), t, distortion)
    points = points_in_sight(camera, 200, seed=1)
    px, seen = camera.project(points)
    assert px.dtype == np.float32
    assert seen.sum() > 20
    np.testing.assert_allclose(px[seen], opencv(camera, points)[seen], atol=1e-3)


def test_points_behind_the_camera_are_not_seen() -> None:
    camera = Camera("any", K, np.eye(3), [0, 0, 300], DISTORTION)
    px, seen = camera.project(np.array([[0.0, 0, 0], [0, 0, -299], [0, 0, -400], [np.nan, 0, 0]]))
    assert seen.tolist() == [True, False, False, False]
    assert np.isfinite(px).all()
    np.testing.assert_allclose(px[0], [949, 567], atol=1e-3)


def test_points_that_distortion_folds_back_are_not_seen() -> None:
    camera = Camera("any", K, np.eye(3), [0, 0, 0], DISTORTION)
    angles = np.arange(0.0, 85.0, 0.25)
    points = np.stack([np.tan(np.radians(angles)), np.zeros_like(angles), np.ones_like(angles)], axis=1) * 100
    px, seen = camera.project(points)
    far_out = opencv(camera, points)[:, 0]
    turning = angles[int(np.argmax(far_out[angles < 70]))]
    assert abs(angles[seen].max() - turning) <= 0.25
    assert (np.diff(px[seen, 0]) > 0).all()
    # Some points outside of the field of view land inside of the image again, by the polynomial alone.
    folded = (angles > turning + 1) & (far_out > 949) & (far_out < 1920)
    assert folded.any()
    assert not seen[folded].any()


def test_without_distortion_the_field_of_view_is_bounded() -> None:
    camera = Camera("any", K, np.eye(3), [0, 0, 0])
    _, seen = camera.project(np.array([[300.0, 0, 100], [500.0, 0, 100]]))
    assert seen.tolist() == [True, False]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"R": np.eye(3) * 2}, "not a rotation"),
        ({"R": np.diag([1, 1, -1])}, "not a rotation"),
        ({"K": np.zeros((3, 3))}, "focal"),
        ({"t": [0, np.nan, 0]}, "t is not 3 finite"),
        ({"distortion": [0, 0]}, "distortion is not 5 finite"),
    ],
)
def test_what_is_no_camera_is_refused(change: dict[str, object], reason: str) -> None:
    whole: dict[str, object] = {"K": K, "R": np.eye(3), "t": [0, 0, 0]}
    with pytest.raises(ValueError, match=reason):
        Camera("any", **(whole | change))  # type: ignore[arg-type]


def test_an_aimed_camera_is_upright_and_sees_its_target_in_the_middle() -> None:
    camera = Camera.aimed("any", eye=(100, -150, -400), target=(0, -90, 0), focal=1300)
    px, seen = camera.project(np.array([[0.0, -90, 0], [0, -180, 0], [0, 0, 0]]))
    assert seen.all()
    np.testing.assert_allclose(px[0], [960, 540], atol=1e-3)
    np.testing.assert_allclose(px[:, 0], 960, atol=1e-2)
    assert px[1, 1] < px[0, 1] < px[2, 1]


def test_the_front_view_keeps_its_scale_and_shows_a_facing_person_unmirrored() -> None:
    px, seen = OrthographicFront().project(np.array([[0.0, 0, 0], [0, -170, 55], [30, -100, -400]]))
    assert seen.all()
    np.testing.assert_allclose(px, [[960, 1040], [960, 360], [1080, 640]])


def test_looking_takes_confidence_from_joints_out_of_sight() -> None:
    camera = Camera("any", K, np.eye(3), [0, 0, 0])
    joints = np.array([[[0, 0, 300], [0, 0, -300]], [[10, 0, 300], [0, 10, 300]]], np.float32)
    confidence = np.full((2, 2), 0.7, np.float32)
    px, seen = look(camera, joints, confidence)
    assert px.shape == (2, 2, 2)
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen, [[0.7, 0], [0.7, 0.7]])
    np.testing.assert_allclose(px[1], [[949 + 46.5, 567], [949, 567 + 46.4]], atol=1e-3)
