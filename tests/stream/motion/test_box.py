"""The box looks only back, holds every seen joint and gives back where it was."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stream.motion import box as boxes
from stream.motion.skeleton import J

HOP = 8


def walk(seed: int, hops: int, dims: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    body = rng.normal(0, 50, (1, 1, J, dims))
    path = rng.normal(0, 8, (1, hops * HOP, 1, dims)).cumsum(axis=1)
    walked: np.ndarray = body + path + rng.normal(0, 3, (1, hops * HOP, J, dims))
    return walked.astype(np.float32)


def boxes_of(joints: np.ndarray, confidence: np.ndarray) -> list[boxes.Box]:
    state, out = boxes.Box.fresh(len(joints), joints.shape[-1]), []
    for start in range(0, joints.shape[1], HOP):
        state = boxes.advance(state, joints[:, start : start + HOP], confidence[:, start : start + HOP])
        out.append(state)
    return out


@settings(deadline=None)
@given(
    joints=hnp.arrays(np.float32, (1, 3 * HOP, J, 2), elements=st.floats(-5000, 5000, width=32)),
    confidence=hnp.arrays(np.float32, (1, 3 * HOP, J), elements=st.floats(0, 1, width=32)),
)
def test_every_seen_joint_lies_inside_and_comes_back(joints: np.ndarray, confidence: np.ndarray) -> None:
    for hop, box in enumerate(boxes_of(joints, confidence)):
        part = slice(hop * HOP, (hop + 1) * HOP)
        seen = confidence[:, part] >= 0.3
        keypoints = boxes.to_keypoints(joints[:, part], confidence[:, part], box)
        assert ((keypoints[..., -1] == 1) == seen).all()
        assert (keypoints[~seen] == 0).all()
        inside = keypoints[seen][:, :2]
        assert ((inside >= 0) & (inside < 1)).all()
        back = boxes.from_box(inside, (*box.centre[0].tolist(), float(box.side[0])))
        np.testing.assert_allclose(back, joints[:, part][seen], atol=0.02)


def test_a_longer_recording_never_changes_earlier_boxes() -> None:
    joints = walk(0, hops=12)
    confidence = np.ones(joints.shape[:3], np.float32)
    whole = boxes_of(joints, confidence)
    for hops in (1, 5, 11):
        part = boxes_of(joints[:, : hops * HOP], confidence[:, : hops * HOP])
        for a, b in zip(part, whole, strict=False):
            np.testing.assert_array_equal(a.centre, b.centre)
            np.testing.assert_array_equal(a.side, b.side)


def test_people_in_a_batch_do_not_touch_each_other() -> None:
    joints = np.concatenate([walk(seed, hops=4, dims=3) for seed in range(5)])
    confidence = np.ones(joints.shape[:3], np.float32)
    together = boxes_of(joints, confidence)
    alone = boxes_of(joints[3:4], confidence[3:4])
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_array_equal(a.centre[3:4], b.centre)


def test_an_unseen_person_keeps_the_box() -> None:
    joints = walk(1, hops=1)
    box = boxes_of(joints, np.ones(joints.shape[:3], np.float32))[0]
    after = boxes.advance(box, joints + 1000, np.zeros(joints.shape[:3], np.float32))
    np.testing.assert_array_equal(after.centre, box.centre)
    np.testing.assert_array_equal(after.side, box.side)


def test_a_box_grown_too_large_shrinks_slowly() -> None:
    body = walk(2, hops=1)
    confidence = np.ones(body.shape[:3], np.float32)
    wide = boxes.advance(boxes.Box.fresh(1, 2), body * 4, confidence)
    state, sides = wide, [float(wide.side[0])]
    for _ in range(30):
        state = boxes.advance(state, body, confidence)
        sides.append(float(state.side[0]))
    assert all(later <= earlier for earlier, later in itertools.pairwise(sides))
    assert 0.9 < sides[1] / sides[0] < 1
    assert sides[-1] < 0.3 * sides[0]
