"""Bodies that were never recorded: what is exchanged, bent and turned, and what stays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.motion.skeleton import J
from stream.sources.demo import demo_pose
from training.data import augment

SEEDS = st.integers(0, 2**32 - 1)
LIMB_JOINTS = [joint for _, limb in augment.LIMBS for joint in limb]


def bodies(seed: int, batch: int = 4, frames: int = 12) -> np.ndarray:
    """Walking people with headings, places and phases of their own: [B, T, 17, 3]."""
    rng = np.random.default_rng(seed)
    starts = rng.uniform(0, 10, batch)
    walks = np.stack([[demo_pose(who, s + n / 30).joints for n in range(frames)] for who, s in enumerate(starts)])
    walks = augment.turn(walks.astype(np.float32), rng.uniform(-np.pi, np.pi, batch))
    return walks + rng.uniform(-200, 200, (batch, 1, 1, 3)).astype(np.float32)


def same_angle(one: np.ndarray, other: np.ndarray, atol: float = 1e-4) -> None:
    np.testing.assert_allclose(np.exp(1j * one), np.exp(1j * other), atol=atol)


def around_roots(joints: np.ndarray, facing: np.ndarray) -> np.ndarray:
    """Limb joints from their root, the body turned to face one way at every instant."""
    facing_one_way = augment.turn(joints, -facing)
    return np.concatenate(
        [facing_one_way[:, :, limb] - facing_one_way[:, :, (root,)] for root, limb in augment.LIMBS], 2
    )


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, angle=st.floats(-6, 6))
def test_a_turned_body_faces_that_much_further(seed: int, angle: float) -> None:
    joints = bodies(seed)
    same_angle(augment.facing(augment.turn(joints, np.full(4, angle))), augment.facing(joints) + angle)
    by_frame = np.linspace(0, angle, joints.shape[1]) * np.ones((4, 1))
    same_angle(augment.facing(augment.turn(joints, by_frame)), augment.facing(joints) + by_frame)
    np.testing.assert_array_equal(augment.turn(joints, by_frame)[..., 1], joints[..., 1])


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_exchanged_limbs_move_as_on_their_donors_relative_to_the_facing(seed: int) -> None:
    joints, donors = bodies(seed), bodies(seed + 1)
    result = augment.exchange(joints, donors, np.random.default_rng(0), share=1.0)
    facings = augment.facing(joints), augment.facing(donors)
    np.testing.assert_allclose(around_roots(result, facings[0]), around_roots(donors, facings[1]), atol=2e-3)
    # The body goes its own way: its hips stay, and the upper body sits on them.
    np.testing.assert_allclose(result[:, :, augment.HIPS], joints[:, :, augment.HIPS], atol=1e-3)
    upper = result[:, :, 5:7] - result[:, :, augment.HIPS].mean(axis=2, keepdims=True)
    of_donor = donors[:, :, 5:7] - donors[:, :, augment.HIPS].mean(axis=2, keepdims=True)
    np.testing.assert_allclose(np.linalg.norm(upper, axis=-1), np.linalg.norm(of_donor, axis=-1), atol=2e-3)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, share=st.floats(0, 1))
def test_identical_donors_change_nothing(seed: int, share: float) -> None:
    joints = bodies(seed)
    result = augment.exchange(joints, joints.copy(), np.random.default_rng(seed), share)
    np.testing.assert_allclose(result, joints, atol=2e-3)


def test_nothing_is_exchanged_with_a_share_of_nothing_and_some_with_a_half() -> None:
    joints, donors = bodies(1, batch=4), bodies(2, batch=4)
    before = joints.copy()
    np.testing.assert_allclose(augment.exchange(joints, donors, np.random.default_rng(0), 0.0), joints, atol=1e-3)
    changed = np.abs(augment.exchange(joints, donors, np.random.default_rng(0), 0.5) - joints).max(axis=(1, 3)) > 0.1
    assert 0 < changed[:, LIMB_JOINTS].mean() < 1
    np.testing.assert_array_equal(joints, before)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, degrees=st.floats(0, 40), length=st.floats(0, 0.4))
def test_bending_keeps_roots_and_limb_lengths_within_bounds(seed: int, degrees: float, length: float) -> None:
    joints = bodies(seed)
    result = augment.bend(joints, np.random.default_rng(seed), degrees, length)
    others = [joint for joint in range(J) if joint not in LIMB_JOINTS]
    np.testing.assert_array_equal(result[:, :, others], joints[:, :, others])
    for root, limb in augment.LIMBS:
        for a, b in ((root, limb[0]), (limb[0], limb[1]), (root, limb[1])):
            before = np.linalg.norm(joints[:, :, a] - joints[:, :, b], axis=-1)
            ratio = np.linalg.norm(result[:, :, a] - result[:, :, b], axis=-1) / before
            assert (abs(ratio - 1) <= length + 1e-3).all()
            np.testing.assert_allclose(ratio, ratio[:, :1] * np.ones_like(ratio), atol=1e-3)  # one window, one change


def test_without_angle_and_length_nothing_bends() -> None:
    joints = bodies(3)
    np.testing.assert_allclose(augment.bend(joints, np.random.default_rng(0), 0.0, 0.0), joints, atol=1e-3)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, degrees=st.floats(0, 60))
def test_a_leaning_body_keeps_its_shape_and_its_centre(seed: int, degrees: float) -> None:
    joints = bodies(seed)
    result = augment.lean(joints, np.random.default_rng(seed), degrees)
    np.testing.assert_allclose(result.mean(axis=(1, 2)), joints.mean(axis=(1, 2)), atol=1e-2)
    apart = [np.linalg.norm(each[:, :, :, None] - each[:, :, None], axis=-1) for each in (joints, result)]
    np.testing.assert_allclose(apart[1], apart[0], atol=1e-2)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, degrees=st.floats(0, 180))
def test_rotations_are_orthonormal_and_turn_the_right_way_round(seed: int, degrees: float) -> None:
    found = augment.rotations(np.random.default_rng(seed), 20, degrees)
    np.testing.assert_allclose(found @ np.moveaxis(found, 1, 2), np.eye(3) * np.ones((20, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(found), 1)


def test_rotations_turn_by_normal_angles() -> None:
    found = augment.rotations(np.random.default_rng(0), 20_000, 20.0)
    angle = np.degrees(np.arccos(np.clip((np.trace(found, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    assert np.sqrt((angle**2).mean()) == pytest.approx(20, rel=0.02)
