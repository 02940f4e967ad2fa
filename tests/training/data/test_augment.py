"""What augmentation does to windows, one kind at a time, and what it leaves alone."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from motion_samples import PLAIN, walk
from stream.motion.skeleton import JOINTS
from training.data import augment
from training.data.windows import LOWER_BODY, AugmentConfig, Window, WindowSampler

HOP = 8


def draw(dims: int = 3, batch: int = 48, **keys: Any) -> Window:
    augment = AugmentConfig(**{**PLAIN, **keys})
    return WindowSampler([[walk(200)]], [1.0], dims, HOP, 2, augment).draw(np.random.default_rng(0), batch)


def centimetres(window: Window, places: NDArray[np.float32]) -> NDArray[np.float32]:
    """Places in the box as places in cm: [B, T, 17, D]."""
    boxes = np.repeat(window.boxes, HOP, axis=1)[:, :, None]
    return np.asarray(places * boxes[..., -1:] + boxes[..., :-1] - boxes[..., -1:] / 2)


def bodies(window: Window) -> NDArray[np.float32]:
    """The true joints in cm around their mean: [B, T, 17, D]."""
    cm = centimetres(window, window.truth)
    return np.asarray(cm - cm.mean(axis=(1, 2), keepdims=True))


def at(joints: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    return np.asarray(joints[..., JOINTS.index(name), :])


def test_a_mirrored_body_still_has_its_left_on_its_left() -> None:
    joints = bodies(draw())
    to_the_left = at(joints, "l-shoulder") - at(joints, "r-shoulder")
    ahead = at(joints, "nose") - (at(joints, "l-ear") + at(joints, "r-ear")) / 2
    side = np.sign(np.cross(ahead, to_the_left)[..., 1])  # y points down
    assert (side == side[0, 0]).all()
    # Half of them are mirrored: the arm that swings more is the other one.
    swing = {name: at(joints, name).std(axis=1).sum(axis=-1) for name in ("l-wrist", "r-wrist")}
    assert 0.2 < (swing["l-wrist"] > swing["r-wrist"]).mean() < 0.8


def test_played_backward_the_same_frames_come_in_the_other_order() -> None:
    forward, backward = bodies(draw()), bodies(draw(backward=1.0))
    np.testing.assert_allclose(backward, forward[:, ::-1], atol=1e-2)
    assert np.abs(backward - forward).max() > 5


def test_a_wider_body_is_as_high_as_before() -> None:
    plain, wide = bodies(draw()), bodies(draw(width=(1.3, 1.3)))
    np.testing.assert_allclose(wide[..., 1], plain[..., 1], atol=1e-2)
    np.testing.assert_allclose(wide[..., [0, 2]], 1.3 * plain[..., [0, 2]], atol=1e-2)


def test_jitter_moves_what_the_encoder_sees_and_not_the_truth() -> None:
    window = draw(noise=4.0, noisy=0.5)
    np.testing.assert_allclose(bodies(window), bodies(draw()), atol=1e-2)
    off = centimetres(window, window.keypoints[..., :-1]) - centimetres(window, window.truth)
    spread = off.std(axis=(1, 2, 3))
    assert 0.3 < (spread > 0.01).mean() < 0.7
    assert 3 < spread.max() < 4.4
    still = draw(noise=4.0, noisy=0.0)
    np.testing.assert_allclose(still.keypoints[..., :-1], still.truth, atol=1e-6)


def test_joints_are_hidden_for_a_while_and_still_taught() -> None:
    window = draw(gappy=1.0)
    hidden = window.keypoints[..., -1] == 0
    assert 0.02 < hidden.mean() < 0.15
    # Each gap is one stretch of time: it begins at most once and ends at most once.
    assert (np.abs(np.diff(hidden.astype(int), axis=1)).sum(axis=1) <= 2).all()
    np.testing.assert_allclose(window.truth[hidden].mean(), draw().truth[hidden].mean(), atol=0.1)
    assert not (draw().keypoints[..., -1] == 0).any()


def test_the_lower_body_is_out_of_some_pictures() -> None:
    seen = draw(half=0.5).keypoints[..., -1] > 0
    without = ~seen[:, :, LOWER_BODY].any(axis=(1, 2))
    assert 0.3 < without.mean() < 0.7
    assert seen[~without].all()
    assert seen[:, :, : LOWER_BODY.start].all()


def test_what_is_nearer_to_a_camera_is_larger() -> None:
    body = np.zeros((2, 1, 17, 3), np.float32)
    body[..., 0] = np.linspace(-40, 40, 17)
    body[:, :, ::2, 2] = -50  # nearer
    straight = augment.virtual(body, np.random.default_rng(0), 1.0, (300, 300), (0, 0), 0.0)
    np.testing.assert_array_equal(straight, body[..., :2])
    seen = augment.virtual(body, np.random.default_rng(0), 0.0, (300, 300), (0, 0), 0.0)
    np.testing.assert_allclose(seen[..., ::2, 0], body[..., ::2, 0] / (1 - 50 / 300), rtol=1e-5)
    np.testing.assert_allclose(seen[..., 1::2, :], body[..., 1::2, :2], atol=1e-5)


def test_a_camera_above_sees_depth_as_height_and_a_rolled_one_turns_the_picture() -> None:
    body = np.random.default_rng(1).normal(0, 30, (1, 1, 17, 3)).astype(np.float32)
    above = augment.virtual(body, np.random.default_rng(0), 0.0, (1e7, 1e7), (30, 30), 0.0)
    expected = np.stack([body[..., 0], np.cos(np.pi / 6) * body[..., 1] + np.sin(np.pi / 6) * body[..., 2]], axis=-1)
    np.testing.assert_allclose(above, expected, atol=1e-2)
    rolled = augment.virtual(body, np.random.default_rng(0), 0.0, (1e7, 1e7), (0, 0), 20.0)
    np.testing.assert_allclose(np.linalg.norm(rolled, axis=-1), np.linalg.norm(body[..., :2], axis=-1), rtol=1e-3)
    assert np.abs(rolled - body[..., :2]).max() > 1


@pytest.mark.parametrize(("key", "value"), [("exchanged", 1.0), ("bend", 15.0), ("length", 0.15), ("lean", 10.0)])
def test_limbs_change_where_they_are_told_to(key: str, value: float) -> None:
    how: dict[str, Any] = {key: value}
    changed, plain = bodies(draw(**how)), bodies(draw())
    assert np.abs(changed - plain).mean() > 0.5
    bones = [np.linalg.norm(at(each, "l-knee") - at(each, "l-ankle"), axis=-1) for each in (changed, plain)]
    assert (np.abs(bones[0] - bones[1]).max() > 1) == (key == "length")
