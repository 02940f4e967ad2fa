"""Replay of Panoptic recordings: cm and pixels, missing joints, broken frames, time."""

import json
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from panoptic_samples import FakeTime, calibration, replay, scene, source, standing, ten_frames, write
from stream.errors import SourceError
from stream.motion.panoptic import POSES, frame_name
from stream.motion.projection import Dims
from stream.motion.scenes import FPS
from stream.motion.skeleton import FROM_PANOPTIC19, JOINTS, SEEN, Pose
from stream.sources import base
from stream.sources.base import LOOP_GAP, PoseSource
from stream.sources.panoptic import PanopticSource

BAND = "data/panoptic/160906_band1"
STYLE = "data/panoptic_style"


# Real recordings


def test_real_frames_come_in_cm_by_the_ids_of_the_recording(shared: Path) -> None:
    frames = replay(shared / BAND)
    assert len(frames) == 20
    assert all(frame.people.keys() == {0, 1, 2} for frame in frames)
    assert [f.time for f in frames] == pytest.approx(np.arange(20) / FPS, abs=2e-3)
    for number, frame in enumerate(frames, start=168):
        content = json.loads((shared / BAND / POSES / frame_name(number)).read_text(encoding="utf-8"))
        for body in content["bodies"]:
            truth = np.reshape(body["joints19"], (19, 4))[FROM_PANOPTIC19]
            pose = frame.people[body["id"]]
            measured = truth[:, 3] >= 0
            np.testing.assert_allclose(pose.joints[measured], truth[measured, :3], rtol=1e-6, atol=1e-6)
            # Real measurements have confidences as low as 0.1, and all of them are seen.
            np.testing.assert_array_equal(pose.confidence >= SEEN, measured)
            assert (pose.confidence[~measured] == 0).all()


def test_real_people_are_upright_in_the_image_of_their_camera(shared: Path) -> None:
    for name in ("160906_band1", "160906_band2"):
        replayed = source(shared / "data/panoptic" / name, "2d")
        assert replayed.unit == "px"
        assert "camera 00_03" in replayed.label
        for frame in replayed:
            for pose in frame.people.values():
                seen = pose.confidence >= SEEN
                assert ((pose.joints[seen] > 0) & (pose.joints[seen] < [1920, 1200])).all()
                # The musicians sit, and one bends so far forward that the head is no higher than the shoulders.
                assert _down(pose, "shoulder") + 50 < _down(pose, "hip")


def _down(pose: Pose, part: str) -> float:
    """How far down in the image the middle of a pair of joints is."""
    pair = [JOINTS.index(f"l-{part}"), JOINTS.index(f"r-{part}")]
    return float(pose.joints[pair][pose.confidence[pair] >= SEEN, 1].mean())


def test_real_pixels_are_those_of_opencv(shared: Path) -> None:
    cameras = json.loads((shared / BAND / "calibration_160906_band1.json").read_text(encoding="utf-8"))["cameras"]
    entry = next(c for c in cameras if c["name"] == "00_12")
    turn, _ = cv2.Rodrigues(np.array(entry["R"]))
    fixed = np.array(entry["t"]), np.array(entry["K"]), np.array(entry["distCoef"])
    flat = replay(shared / BAND, "2d", camera="00_12")
    compared = 0
    for frame, deep in zip(flat, replay(shared / BAND), strict=True):
        for track, pose in frame.people.items():
            px, _ = cv2.projectPoints(deep.people[track].joints.astype(np.float64), turn, *fixed)
            seen = pose.confidence >= SEEN
            np.testing.assert_allclose(pose.joints[seen], px.reshape(-1, 2)[seen], atol=2e-3)
            compared += seen.sum()
    assert compared > 500


def test_people_of_a_real_recording_come_and_go(shared: Path) -> None:
    frames = replay(shared / STYLE / "cmu_walking_passes_1")
    present = [sorted(frame.people) for frame in frames]
    assert present == [[0]] * 168 + [[]] * 6 + [[1]] * 131

    frames = replay(shared / STYLE / "cmu_two_people_1")
    absent = [i for i, frame in enumerate(frames) if 1 not in frame.people]
    assert absent == list(range(100, 161))


def test_spoiled_joints_are_missing_for_as_long_as_they_are(shared: Path) -> None:
    frames = replay(shared / STYLE / "cmu_two_people_1")
    missing = {
        joint: [i for i, frame in enumerate(frames) if frame.people[0].confidence[JOINTS.index(joint)] < SEEN]
        for joint in ("l-wrist", "r-wrist", "l-ear", "l-hip")
    }
    # The left wrist has confidence -1; the right one and the ear are there, but hardly measured.
    assert missing == {
        "l-wrist": [*range(40, 70)],
        "r-wrist": [*range(80, 100)],
        "l-ear": [*range(260, 280)],
        "l-hip": [],
    }


# Views


def test_pixels_are_those_of_the_named_camera(tmp_path: Path) -> None:
    sequence = write(tmp_path / "seq", ten_frames())
    deep, flat = replay(sequence)[3].people[0], replay(sequence, "2d", camera="00_09")[3].people[0]
    depth = deep.joints[:, 2] + 400
    np.testing.assert_allclose(flat.joints[:, 0], 960 + 1400 * deep.joints[:, 0] / depth, atol=1e-3)
    np.testing.assert_allclose(flat.joints[:, 1], 540 + 1400 * (deep.joints[:, 1] + 100) / depth, atol=1e-3)
    np.testing.assert_array_equal(flat.confidence, deep.confidence)


def test_without_calibration_the_front_view_serves_and_the_label_says_so(tmp_path: Path) -> None:
    replayed = source(write(tmp_path / "seq", ten_frames(), calibrated=False), "2d")
    assert "orthographic front view (no calibration)" in replayed.label
    assert replayed.unit == "px"
    truth = standing()[FROM_PANOPTIC19]
    first = next(iter(replayed)).people[0]
    np.testing.assert_allclose(first.joints, truth[:, :2] * 4 + [960, 1040], atol=1e-3)


def test_joints_behind_the_camera_are_missing_and_people_there_absent(tmp_path: Path) -> None:
    half, gone = standing(), standing()
    half[3, 2] = gone[:, 2] = -500
    frame = scene((4, half), (5, gone))
    sequence = write(tmp_path / "seq", {0: frame})
    assert replay(sequence)[0].people.keys() == {4, 5}
    (people,) = (f.people for f in replay(sequence, "2d"))
    assert people.keys() == {4}
    assert [JOINTS[i] for i in np.flatnonzero(people[4].confidence < SEEN)] == ["l-shoulder"]


@pytest.mark.parametrize("name", ["99_99", "01_01"])
def test_an_unknown_camera_is_refused_with_names_that_are_known(tmp_path: Path, name: str) -> None:
    sequence = write(tmp_path / "seq", ten_frames())
    with pytest.raises(SourceError, match=f"'{name}'.*00_00, 00_03, 00_09"):
        source(sequence, "2d", camera=name)


def test_a_camera_without_calibration_is_refused(tmp_path: Path) -> None:
    sequence = write(tmp_path / "seq", ten_frames(), calibrated=False)
    with pytest.raises(SourceError, match="put calibration_seq"):
        source(sequence, "2d", camera="00_03")


@pytest.mark.parametrize(
    "content", [b"", b'{"cameras": [{"name"', b'{"cameras": []}', b'{"cameras": 3}', b"[" * 100_000]
)
def test_a_damaged_calibration_is_named_and_leaves_3d_alone(tmp_path: Path, content: bytes) -> None:
    sequence = write(tmp_path / "seq", ten_frames())
    (sequence / "calibration_seq.json").write_bytes(content)
    with pytest.raises(SourceError, match="calibration file"):
        source(sequence, "2d")
    assert len(replay(sequence)) == 10


def test_a_camera_with_impossible_figures_is_named(tmp_path: Path) -> None:
    sequence = write(tmp_path / "seq", ten_frames())
    broken = calibration()
    broken["cameras"][2]["R"] = np.zeros((3, 3)).tolist()
    (sequence / "calibration_seq.json").write_text(json.dumps(broken), encoding="utf-8")
    with pytest.raises(SourceError, match=r"camera 00_03 is damaged.*not a rotation"):
        source(sequence, "2d")
    assert "00_00" in source(sequence, "2d", camera="00_00").label


def test_another_sequence_s_calibration_is_not_guessed(tmp_path: Path) -> None:
    sequence = write(tmp_path / "seq", ten_frames(), calibrated=False)
    for name in ("one", "two"):
        (sequence / f"calibration_{name}.json").write_text(json.dumps(calibration()), encoding="utf-8")
    assert "no calibration" in source(sequence, "2d").label


# Joints


def test_confidence_not_position_says_what_is_missing(tmp_path: Path) -> None:
    joints = standing()
    joints[1] = 0, 0, 0, 0.5  # nose, truly at the origin
    joints[5, 3] = -1  # left wrist, with a position that looks sound
    joints[8, 3] = 7.0
    joints[14, 3] = 0.1
    (frame,) = replay(write(tmp_path / "seq", {0: scene((0, joints))}))
    confidence = dict(zip(JOINTS, frame.people[0].confidence, strict=True))
    assert confidence["nose"] >= SEEN
    assert confidence["l-wrist"] == 0
    assert confidence["l-ankle"] == 1
    assert confidence["r-ankle"] >= SEEN
    assert frame.people[0].confidence.dtype == frame.people[0].joints.dtype == np.float32


def test_joints_that_are_no_numbers_are_missing(tmp_path: Path) -> None:
    joints = standing()
    joints[1, 0], joints[5, 2], joints[8, 3], joints[14, 1] = np.nan, np.inf, np.nan, 1e300
    views: tuple[Dims, ...] = ("3d", "2d")
    for dims in views:
        sequence = write(tmp_path / dims, {0: scene((0, joints))})
        (frame,) = replay(sequence, dims)
        pose = frame.people[0]
        gone = {JOINTS[i] for i in np.flatnonzero(pose.confidence < SEEN)}
        assert gone == {"nose", "l-wrist", "l-ankle", "r-ankle"}
        assert np.isfinite(pose.joints).all()


def test_a_body_without_any_joint_is_absent_and_empty_frames_go_on(tmp_path: Path) -> None:
    nobody = standing()
    nobody[:, 3] = -1
    frames = replay(write(tmp_path / "seq", {0: scene((3, nobody), (8, standing())), 1: scene()}))
    assert [f.people.keys() for f in frames] == [{8}, set()]


# Time


def test_missing_numbers_leave_gaps_in_time(tmp_path: Path) -> None:
    frames = ten_frames()
    del frames[4], frames[5], frames[6]
    times = [f.time for f in replay(write(tmp_path / "seq", frames))]
    assert times == pytest.approx([0, 0.1 / 3, 0.2 / 3, 0.1, 0.7 / 3, 0.8 / 3, 0.3])


@pytest.mark.parametrize(
    "stamps",
    [
        [None] * 4,
        [0.0] * 4,
        [500.0, 400.0, 300.0, 200.0],
        [100.0, 1e15, 100.0, 50.0],
        [float("nan")] * 4,
    ],
)
def test_where_the_clock_does_not_go_on_the_frame_numbers_do(tmp_path: Path, stamps: list[float | None]) -> None:
    numbers = [10, 11, 12, 20]
    frames: dict[int, dict[str, Any] | bytes] = {
        n: scene((0, standing()), time=t) for n, t in zip(numbers, stamps, strict=True)
    }
    times = [f.time for f in replay(write(tmp_path / "seq", frames))]
    assert times == pytest.approx([0, 1 / FPS, 2 / FPS, 10 / FPS])


def test_one_stamp_that_does_not_rise_costs_one_frame_of_time(tmp_path: Path) -> None:
    stamps = [0, 40, 40, 80, 120]
    frames: dict[int, dict[str, Any] | bytes] = {i: scene((0, standing()), time=t) for i, t in enumerate(stamps)}
    times = [f.time for f in replay(write(tmp_path / "seq", frames))]
    assert times == pytest.approx([0, 0.04, 0.04 + 1 / FPS, 0.08 + 1 / FPS, 0.12 + 1 / FPS])


def test_a_loop_starts_over_after_a_pause_under_the_same_ids(tmp_path: Path) -> None:
    replayed = source(write(tmp_path / "seq", ten_frames()), loop=True)
    frames = [frame for frame, _ in zip(replayed, range(25), strict=False)]
    assert [f.time for f in frames[10:20]] == pytest.approx([0.3 + LOOP_GAP + i / 30 for i in range(10)])
    assert all(a.time < b.time for a, b in pairwise(frames))
    for once, again in zip(frames[:10], frames[10:20], strict=True):
        np.testing.assert_array_equal(once.people[0].joints, again.people[0].joints)
    assert frames[20].time == pytest.approx(2 * (0.3 + LOOP_GAP))


def test_stopping_and_closing_end_even_a_loop(tmp_path: Path) -> None:
    sequence = write(tmp_path / "seq", ten_frames())
    stop = threading.Event()
    replayed = PanopticSource(sequence, "3d", "max", stop, loop=True)
    for count, _ in enumerate(replayed, start=1):
        if count == 15:
            stop.set()
    assert count == 15

    replayed = source(sequence, loop=True)
    for count, _ in enumerate(replayed, start=1):
        if count == 15:
            replayed.close()
            replayed.close()
    assert count == 15


def test_in_real_time_frames_come_when_they_are_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeTime()
    monkeypatch.setattr(base, "time", clock)
    frames = ten_frames()
    del frames[5]
    replayed = PanopticSource(write(tmp_path / "seq", frames), "3d", "realtime", clock)
    for frame in replayed:
        assert clock.now == pytest.approx(50 + frame.time)
        assert frame.captured_ns == pytest.approx((50 + frame.time) * 1e9, abs=1e3)
    assert clock.waits == pytest.approx([1 / 30] * 4 + [2 / 30] + [1 / 30] * 3)


def test_it_is_a_pose_source(tmp_path: Path) -> None:
    replayed: PoseSource = source(write(tmp_path / "seq", ten_frames()))
    assert replayed.unit == "cm"
    assert replayed.label == "panoptic seq, 10 frames"
    assert replayed.counts == {}
