"""The transform codec: what it decodes follows from its numbers and boxes alone, and it looks only back."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import entropy

from motion_samples import Echo, people, write_shard
from stream.motion.skeleton import J
from training.evaluation import rate_distortion
from training.evaluation.roundtrip import run_clips
from training.evaluation.transform import (
    PAST,
    Recording,
    TransformCodec,
    batch_of,
    fitted,
    table_bits,
    training_recordings,
)

HOP = 8
STEPS = (0.09, 0.03)


def recordings(count: int, dims: int = 2) -> list[Recording]:
    """Walking people, each longer than the one before, so that a batch has to be sorted and thins out."""
    found = [clip for n, clip in enumerate(people(count, 96 + 48 * count)) for clip in [clip.part(0, 96 + 48 * n)]]
    return [Recording(c.joints[..., :dims].astype(np.float32), np.ones(c.joints.shape[:2], bool)) for c in found]


@pytest.fixture(scope="module", params=[2, 3])
def codecs(request: pytest.FixtureRequest) -> tuple[int, Sequence[TransformCodec]]:
    return request.param, list(fitted(batch_of(recordings(4, request.param), HOP), STEPS))


def test_numbers_and_boxes_alone_give_the_joints(codecs: tuple[int, Sequence[TransformCodec]]) -> None:
    dims, (_, codec) = codecs
    (recording,) = recordings(1, dims)
    ((joints, numbers),) = codec.code([recording], HOP)
    places: list[np.ndarray] = []
    for box, whole in zip(batch_of([recording], HOP).boxes, numbers, strict=True):
        centre, side = box[0, :-1].astype(float), float(box[0, -1])
        past = [((p - centre) / side + 0.5).ravel() - codec.mean for p in places[: -PAST - 1 : -1]]
        past += [np.zeros(len(codec.mean))] * (PAST - len(past))
        x = codec.mean + np.concatenate(past) @ codec.weights + codec.basis @ (whole * codec.step)
        places.append((x.reshape(HOP, J, dims) - 0.5) * side + centre)
    np.testing.assert_allclose(joints, np.concatenate(places), atol=1e-3)


def test_nothing_looks_ahead_and_nobody_changes_another(codecs: tuple[int, Sequence[TransformCodec]]) -> None:
    dims, (_, codec) = codecs
    together = recordings(3, dims)
    for recording, (joints, numbers) in zip(together, codec.code(together, HOP), strict=True):
        first = Recording(recording.joints[: 5 * HOP], recording.known[: 5 * HOP])
        ((alone, of_alone),) = codec.code([first], HOP)
        np.testing.assert_array_equal(of_alone, numbers[:5])
        np.testing.assert_allclose(alone, joints[: 5 * HOP], atol=1e-3)
        assert numbers.any()


def test_no_coefficient_is_further_off_than_half_a_step(codecs: tuple[int, Sequence[TransformCodec]]) -> None:
    dims, (codec, _) = codecs
    batch = batch_of(recordings(3, dims), HOP)
    for x, (_, decoded, _) in zip(batch.x, codec.run(batch), strict=True):
        assert np.abs((x - codec.mean - decoded) @ codec.basis).max() <= codec.step / 2 * (1 + 1e-6)


def test_hidden_joints_cost_nothing_wherever_they_are_said_to_be(
    codecs: tuple[int, Sequence[TransformCodec]],
) -> None:
    dims, (_, codec) = codecs
    (whole,) = recordings(1, dims)
    known = whole.known.copy()
    known[16:40, 9] = False
    known[56:64] = False  # nobody is seen
    moved = np.where(known[..., None], whole.joints, 1e4).astype(np.float32)
    ((joints, numbers),) = codec.code([Recording(whole.joints, known)], HOP)
    ((others, of_others),) = codec.code([Recording(moved, known)], HOP)
    np.testing.assert_array_equal(numbers, of_others)
    np.testing.assert_array_equal(joints, others)
    assert not numbers[7].any()
    assert np.isfinite(joints).all()


def test_hidden_joints_of_the_training_sets_teach_nothing() -> None:
    clean = recordings(4)
    known = [recording.known.copy() for recording in clean]
    for mask in known:
        mask[8:32, 9] = False
    fits = []
    for said in (0.0, 1e4, np.nan):
        joints = [np.where(k[..., None], r.joints, said).astype(np.float32) for r, k in zip(clean, known, strict=True)]
        (codec,) = fitted(batch_of([Recording(j, k) for j, k in zip(joints, known, strict=True)], HOP), STEPS[:1])
        fits.append(codec)
    for codec in fits[1:]:
        np.testing.assert_array_equal(codec.mean, fits[0].mean)
        np.testing.assert_array_equal(codec.weights, fits[0].weights)


def test_a_static_table_costs_the_entropy_and_what_it_never_met_is_finite() -> None:
    rng = np.random.default_rng(0)
    numbers = np.rint(rng.normal(0, [0.3, 2.0], size=(20_000, 2))).astype(np.int64)
    ideal = sum(len(c) * entropy(np.unique(c, return_counts=True)[1], base=2) for c in numbers.T)
    assert table_bits(numbers, numbers) == pytest.approx(ideal, rel=1e-3)
    known, met_never = table_bits(numbers, np.array([[0, 0]])), table_bits(numbers, np.array([[40, -40]]))
    assert known < 5 < 20 < met_never < 1000


def test_finer_steps_cost_more_and_lose_less() -> None:
    tracks = run_clips(Echo(HOP), people(3), 2, HOP).tracks
    points = rate_distortion.transform_curve(tracks, recordings(4), HOP)
    for coarse, fine in pairwise(points):
        assert fine.joint_error_cm < coarse.joint_error_cm
        assert (fine.bits, fine.entropy) > (coarse.bits, coarse.entropy)
        assert fine.bits >= 0


def test_a_small_training_set_counts_as_much_as_a_long_one(tmp_path: Path) -> None:
    long = write_shard(tmp_path / "long.npz", ["walk"] * 6)
    short = write_shard(tmp_path / "short.npz", ["walk"] * 2)
    found = training_recordings([long, short], 2, HOP)
    assert len(found) == 12
    assert all(len(recording.joints) % HOP == 0 for recording in found)
    assert len({float(recording.joints[0, 0, 0]) for recording in found}) == 12  # each from its own side
