"""The built-in motion is human: bones keep their length, feet the floor, left is left; and it never varies."""

import json
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from panoptic_samples import FakeTime
from stream.errors import SourceError
from stream.motion.skeleton import JOINTS, J
from stream.sources import base
from stream.sources.base import PoseSource
from stream.sources.demo import CAMERA, MAX_PEOPLE, TOGETHER, DemoSource, demo_pose
from stream.sources.gait import HEIGHT

FPS = 60
TIMES = np.arange(0, 12, 1 / FPS)
WALKERS, WAVERS = range(0, TOGETHER, 2), range(1, TOGETHER, 2)
NUMBER = {name: i for i, name in enumerate(JOINTS)}

RIGID = [
    (f"{side}-{a}", f"{side}-{b}")
    for side in "lr"
    for a, b in [("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"), ("eye", "ear")]
] + [("l-hip", "r-hip"), ("l-shoulder", "r-shoulder"), ("nose", "l-eye"), ("nose", "r-eye")]


@pytest.fixture(scope="module")
def motion() -> np.ndarray:
    """[person, time, 17, 3] cm, 12 s of everyone."""
    everyone = DemoSource("3d", "max", threading.Event(), fps=FPS, people=TOGETHER, seconds=12)
    frames = [[frame.people[i].joints for i in range(TOGETHER)] for frame in everyone]
    return np.stack(frames, axis=1)


def joint(motion: np.ndarray, name: str) -> np.ndarray:
    return motion[:, :, NUMBER[name]].astype(np.float64)


def middle(motion: np.ndarray, part: str) -> np.ndarray:
    return np.asarray((joint(motion, f"l-{part}") + joint(motion, f"r-{part}")) / 2)


def ahead(motion: np.ndarray) -> np.ndarray:
    """[person, time, 3]: the unit vector straight ahead of the pelvis, level; by what left is, y being down."""
    left = joint(motion, "l-hip") - joint(motion, "r-hip")
    forward = np.cross(left, [0, -1, 0])
    return np.asarray(forward / np.linalg.norm(forward, axis=-1, keepdims=True), np.float64)


def test_bones_keep_their_length_and_both_sides_are_alike(motion: np.ndarray) -> None:
    for a, b in RIGID:
        length = np.linalg.norm(joint(motion, a) - joint(motion, b), axis=-1)
        assert np.ptp(length, axis=1).max() < 0.01, (a, b)
    for a, b in RIGID[:5]:
        left, right = (
            np.linalg.norm(joint(motion, f"{s}{a[1:]}") - joint(motion, f"{s}{b[1:]}"), axis=-1) for s in "lr"
        )
        np.testing.assert_allclose(left, right, atol=0.01)


def test_people_have_human_and_different_heights(motion: np.ndarray) -> None:
    leg = sum(
        np.linalg.norm(joint(motion, f"l-{a}") - joint(motion, f"l-{b}"), axis=-1)[:, 0]
        for a, b in [("hip", "knee"), ("knee", "ankle")]
    )
    height = leg * HEIGHT
    assert 150 <= height.min() < 160
    assert 180 < height.max() <= 190
    assert np.diff(np.sort(height)).min() > 0.5
    eyes = -middle(motion, "eye")[..., 1]
    assert (eyes > 0.85 * height[:, None]).all()
    assert (eyes < 0.98 * height[:, None]).all()


def test_ankles_stay_above_the_floor_and_heads_on_top(motion: np.ndarray) -> None:
    above = -motion[..., 1]
    ankles = above[:, :, [NUMBER["l-ankle"], NUMBER["r-ankle"]]]
    assert ankles.min() > 5
    assert ankles.max() < 30
    up = [-middle(motion, part)[..., 1] for part in ("ankle", "knee", "hip", "shoulder", "eye")]
    assert all((low + 10 < high).all() for low, high in pairwise(up))


def test_walkers_walk_the_way_they_face_at_a_human_pace(motion: np.ndarray) -> None:
    walkers = motion[list(WALKERS)]
    velocity = np.gradient(middle(walkers, "hip"), 1 / FPS, axis=1)
    speed = (velocity * ahead(walkers)).sum(axis=-1)
    assert speed.min() > 70
    assert speed.max() < 170
    assert speed.mean() == pytest.approx(120, abs=5)
    nose = joint(walkers, "nose") - middle(walkers, "ear")
    assert ((nose * ahead(walkers)).sum(axis=-1) > 5).all()
    # A step each time that the ankles pass each other.
    apart = ((joint(walkers, "l-ankle") - joint(walkers, "r-ankle")) * ahead(walkers)).sum(axis=-1)
    steps = (np.diff(np.sign(apart), axis=1) != 0).sum(axis=1) / TIMES[-1]
    assert (steps > 1.5).all()
    assert (steps < 2.2).all()


def test_knees_and_elbows_bend_the_human_way(motion: np.ndarray) -> None:
    for side in "lr":
        hip, knee, ankle = (joint(motion, f"{side}-{part}") for part in ("hip", "knee", "ankle"))
        assert (((knee - (hip + ankle) / 2) * ahead(motion)).sum(axis=-1) > 0).all()
        flexion = _angle(knee - hip, ankle - knee)
        assert flexion.min() > 5
        assert flexion.max() < 80
        shoulder, elbow, wrist = (joint(motion, f"{side}-{part}") for part in ("shoulder", "elbow", "wrist"))
        assert (_angle(elbow - shoulder, wrist - elbow) < 150).all()


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    cosine = (a * b).sum(axis=-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1, 1))), np.float64)


def test_arms_swing_against_the_legs(motion: np.ndarray) -> None:
    walker = motion[:1]
    legs = ((joint(walker, "l-ankle") - joint(walker, "r-ankle")) * ahead(walker)).sum(axis=-1)
    arms = ((joint(walker, "l-wrist") - joint(walker, "r-wrist")) * ahead(walker)).sum(axis=-1)
    assert np.corrcoef(legs.ravel(), arms.ravel())[0, 1] < -0.9
    assert np.ptp(arms) > 20


def test_standing_feet_do_not_slip(motion: np.ndarray) -> None:
    walkers = motion[list(WALKERS)]
    for side in "lr":
        ankle = joint(walkers, f"{side}-ankle")
        speed = np.linalg.norm(np.gradient(ankle, 1 / FPS, axis=1)[..., [0, 2]], axis=-1)
        # Each foot rests for two fifths of the time at the least, the heel still on the floor.
        assert np.quantile(speed, 0.35, axis=1).max() < 35
    wavers = motion[list(WAVERS)]
    assert np.ptp(middle(wavers, "ankle"), axis=1).max() < 0.01


def test_left_is_left_of_the_way_ahead(motion: np.ndarray) -> None:
    # For someone who walks toward -z with y down, the left hand is on the side of +x.
    for part in ("eye", "ear", "shoulder"):
        left = joint(motion, f"l-{part}") - joint(motion, f"r-{part}")
        facing = joint(motion, "nose") - middle(motion, "ear")
        assert (np.cross(facing, left)[..., 1] < 0).all()
        assert (np.cross(ahead(motion), left)[..., 1] < 0).all()


def test_those_who_stand_wave_and_some_with_either_arm(motion: np.ndarray) -> None:
    raised = {
        side: (joint(motion, f"{side}-wrist")[..., 1] < joint(motion, f"{side}-shoulder")[..., 1]).mean(axis=1)
        for side in "lr"
    }
    either = np.maximum(raised["l"], raised["r"])
    assert (either[list(WAVERS)] > 0.3).all()
    assert (either[list(WAVERS)] < 0.95).all()
    assert (raised["l"][list(WAVERS)] > 0).any()
    assert (raised["r"][list(WAVERS)] > 0).any()
    assert either[0] == 0
    assert 0.05 < either[2] < 0.5  # walks and greets now and then


def test_motion_is_smooth(motion: np.ndarray) -> None:
    velocity = np.diff(motion.astype(np.float64), axis=1) * FPS
    acceleration = np.diff(velocity, axis=1) * FPS
    speed = np.linalg.norm(velocity, axis=-1).max(axis=(0, 1))
    legs = [i for i, name in enumerate(JOINTS) if "knee" in name or "ankle" in name]
    assert speed[legs].max() < 420
    assert np.delete(speed, legs).max() < 330
    assert np.linalg.norm(acceleration, axis=-1).max() < 4000  # people reach more than this when they walk


def test_people_keep_apart(motion: np.ndarray) -> None:
    places = middle(motion, "hip")[..., [0, 2]]
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    apart[np.arange(TOGETHER), np.arange(TOGETHER)] = np.inf
    assert apart.min() > 70


def test_a_pose_is_a_pure_function_of_person_and_time() -> None:
    source = DemoSource("3d", "max", threading.Event(), fps=30, people=5, seconds=3)
    for frame in list(source)[::-7]:
        for person, pose in frame.people.items():
            alone = demo_pose(person, frame.time)
            np.testing.assert_allclose(pose.joints, alone.joints, atol=1e-3)
            np.testing.assert_array_equal(pose.confidence, alone.confidence)
            assert pose.joints.dtype == pose.confidence.dtype == np.float32
    first, second = demo_pose(0, 1.0).joints, demo_pose(2, 1.0).joints
    assert np.abs(first - second).max() > 50


def test_a_pose_is_the_same_in_another_process() -> None:
    code = "from stream.sources.demo import demo_pose; print(demo_pose(3, 7.5).joints.tolist())"
    root = Path(__file__).resolve().parents[3]
    printed = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True).stdout
    np.testing.assert_array_equal(np.float32(json.loads(printed)), demo_pose(3, 7.5).joints)


def test_in_pixels_everyone_is_whole_and_within_the_image() -> None:
    source: PoseSource = DemoSource("2d", "max", threading.Event(), people=TOGETHER, seconds=11)
    assert source.unit == "px"
    for frame in source:
        assert sorted(frame.people) == list(range(TOGETHER))
        for pose in frame.people.values():
            assert pose.joints.shape == (J, 2)
            assert (pose.confidence == 1).all()
            assert ((pose.joints > 0) & (pose.joints < CAMERA.size)).all()
    one = next(iter(DemoSource("2d", "max", threading.Event(), people=1))).people[0].joints
    px, _ = CAMERA.project(demo_pose(0, 0.0).joints)
    np.testing.assert_allclose(one, px)


def test_a_crowd_stands_behind_and_everyone_is_seen_and_apart() -> None:
    source = DemoSource("2d", "max", threading.Event(), people=MAX_PEOPLE, fps=1, seconds=3)
    for frame in source:
        assert sorted(frame.people) == list(range(MAX_PEOPLE))
        joints = np.stack([pose.joints for pose in frame.people.values()])
        assert ((joints > 0) & (joints < CAMERA.size)).all()
    places = np.stack([demo_pose(person, 1.0).joints[11:13].mean(axis=0)[[0, 2]] for person in range(3 * TOGETHER)])
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    assert apart.min() > 70


def test_frames_come_at_the_rate_asked_for_and_end_when_asked() -> None:
    source = DemoSource("3d", "max", threading.Event(), fps=25, seconds=2)
    frames = list(source)
    assert [frame.time for frame in frames] == pytest.approx(np.arange(50) / 25)
    assert all(frame.people.keys() == {0, 1} for frame in frames)
    assert source.counts == {}
    assert source.label == "demo, 2 people"


def test_without_end_until_stopped_or_closed() -> None:
    stop = threading.Event()
    times = []
    for frame in DemoSource("3d", "max", stop):
        times.append(frame.time)
        if len(times) == 2000:
            stop.set()
    assert times == pytest.approx(np.arange(2000) / 30)

    source = DemoSource("3d", "max", threading.Event())
    for count, _ in enumerate(source, start=1):
        if count == 3:
            source.close()
            source.close()
    assert count == 3


def test_in_real_time_frames_come_when_they_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeTime()
    monkeypatch.setattr(base, "time", clock)
    for frame in DemoSource("3d", "realtime", clock, seconds=2):
        assert clock.now == pytest.approx(50 + frame.time)
        assert frame.captured_ns == pytest.approx((50 + frame.time) * 1e9, abs=1e3)
    assert clock.now == pytest.approx(50 + 59 / 30)


@pytest.mark.parametrize("bad", [{"people": 0}, {"people": 257}, {"fps": 0.0}, {"fps": float("nan")}])
def test_impossible_requests_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(SourceError, match="the demo"):
        DemoSource("3d", "max", threading.Event(), **bad)  # type: ignore[arg-type]
