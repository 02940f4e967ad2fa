"""MediaPipe and the tracker together on a real video: two people shake hands, then embrace."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.errors import PoseModelError, SourceError
from stream.motion.projection import Dims
from stream.motion.skeleton import JOINTS, SEEN, Pose
from stream.pose.crop import Image
from stream.pose.model_file import VARIABLE
from stream.pose.source import VisionSource, mediapipe_tracker, open_vision
from stream.producer import Config
from stream.sources.base import Frame, PoseFrame
from stream.sources.video import VideoSource

EMBRACE = 52
"""Frame in which the landmarker of the left one leaps onto the right one, whose head is beside theirs."""

HIPS = [JOINTS.index("l-hip"), JOINTS.index("r-hip")]
NOSE = JOINTS.index("nose")


@pytest.fixture(scope="module")
def model(shared: Path) -> Path:
    return shared / "models/pose_landmarker_full.task"


@pytest.fixture(scope="module")
def video(shared: Path) -> Path:
    return shared / "data/video/two_people_indoor.mp4"


@pytest.fixture(scope="module")
def images(video: Path) -> list[Image]:
    return [frame.image for frame in VideoSource(video, "max", threading.Event())]


@pytest.fixture(scope="module")
def followed(video: Path, model: Path) -> list[PoseFrame]:
    return see(video, model, "2d")


def see(video: Path, model: Path, dims: Dims, max_persons: int = 2) -> list[PoseFrame]:
    source = open_vision(
        str(video), dims, rate="max", stop=threading.Event(), max_persons=max_persons, pose_model=str(model)
    )
    frames = list(source)
    assert source.counts == {}
    return frames


def x(pose: Pose, joint: int | list[int]) -> float:
    return float(np.mean(pose.joints[joint, 0]))


def who(frame: PoseFrame) -> tuple[int, int]:
    """The ids of the left one and of the right one."""
    left, right = sorted(frame.people, key=lambda id: x(frame.people[id], HIPS))
    return left, right


def test_both_are_followed_through_the_handshake(followed: list[PoseFrame]) -> None:
    assert len(followed) == 72
    assert sorted(followed[0].people) == [0, 1]
    left, right = who(followed[0])
    for frame in followed[: EMBRACE - 1]:
        assert who(frame) == (left, right)
        one, other = frame.people[left], frame.people[right]
        assert 730 < x(one, HIPS) < 880
        assert 960 < x(other, HIPS) < 1040
        assert x(one, NOSE) < x(other, NOSE) - 15


def test_the_embrace_hides_the_left_one(followed: list[PoseFrame]) -> None:
    """Who is given up is the one whose landmarker leapt; the other keeps the id and the place."""
    _, right = who(followed[0])
    for frame in followed[EMBRACE + 2 :]:
        assert list(frame.people) == [right]
        assert 960 < x(frame.people[right], HIPS) < 1040


def test_poses_are_upright_people_who_move_like_people(followed: list[PoseFrame]) -> None:
    before: dict[int, Pose] = {}
    for number, frame in enumerate(followed[: EMBRACE - 1]):
        for id, pose in frame.people.items():
            assert pose.joints.shape == (17, 2)
            assert (pose.joints > 0).all()
            assert (pose.joints < (1920, 1080)).all()
            assert (pose.confidence >= SEEN).sum() >= 11
            heights = [pose.joints[pair, 1].mean() for pair in ([0], [5, 6], HIPS, [13, 14], [15, 16])]
            assert (np.diff(heights) > 30).all()
            assert 480 < np.ptp(pose.joints[:, 1]) < 640
            if id in before:
                step = np.linalg.norm(pose.joints - before[id].joints, axis=1)
                assert step.mean() < 25, (number, id)
        before = frame.people
    # Both face the camera at first; left is the person's own.
    for frame in followed[:20]:
        for pose in frame.people.values():
            for part in ("shoulder", "hip", "ankle"):
                assert x(pose, JOINTS.index(f"l-{part}")) > x(pose, JOINTS.index(f"r-{part}"))


def test_hands_meet_in_the_handshake(followed: list[PoseFrame]) -> None:
    """The left one's right arm reaches the right one: it hung beside the body in the beginning."""
    left, right = who(followed[0])
    wrist = JOINTS.index("r-wrist")
    reach = [abs(x(frame.people[left], wrist) - x(frame.people[right], HIPS)) for frame in followed[:36]]
    assert reach[0] > 250
    assert min(reach[28:]) < 60


def test_the_same_video_gives_the_same_and_a_longer_one_changes_nothing(
    followed: list[PoseFrame], images: list[Image], model: Path
) -> None:
    with closing(mediapipe_tracker(model, 2, "2d")) as tracker:
        tracker.warm()
        for frame, image in list(zip(followed, images, strict=True))[:30]:
            again = tracker.track(Frame(image, frame.time, 0))
            assert again.keys() == frame.people.keys()
            for id, pose in again.items():
                np.testing.assert_array_equal(pose.joints, frame.people[id].joints)
                np.testing.assert_array_equal(pose.confidence, frame.people[id].confidence)


def test_in_3d(video: Path, model: Path, followed: list[PoseFrame]) -> None:
    frames = see(video, model, "3d")
    assert [list(frame.people) for frame in frames] == [list(frame.people) for frame in followed]
    for frame in frames[: EMBRACE - 1]:
        for pose in frame.people.values():
            assert pose.joints.shape == (17, 3)
            np.testing.assert_allclose(pose.joints[HIPS].mean(axis=0), 0, atol=1.0)
            assert 110 < np.ptp(pose.joints[:, 1]) < 165  # cm from the eyes to the ankles
            assert pose.joints[NOSE, 1] < -35  # y down


def test_one_person_is_enough(video: Path, model: Path) -> None:
    frames = see(video, model, "2d", max_persons=1)
    assert all(list(frame.people) == [0] for frame in frames)
    places = [x(frame.people[0], HIPS) for frame in frames]
    assert np.abs(np.diff(places)).max() < 30  # never anybody else


def shifted(image: Image, dx: float) -> Image:
    way = np.array([[1.0, 0, dx], [0, 1.0, 0]])
    moved = cv2.warpAffine(image, way, (image.shape[1], image.shape[0]), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def test_crops_move_with_the_people(followed: list[PoseFrame], images: list[Image], model: Path) -> None:
    """The camera pans to and fro, 31 px a frame at most."""
    pan = 200 * np.sin(2 * np.pi * np.arange(36) / 40)
    tracker = mediapipe_tracker(model, 2, "2d")
    errors: list[float] = []
    for number, dx in enumerate(pan):
        people = tracker.track(Frame(shifted(images[number], dx), number / 30, 0))
        still = followed[number].people
        left, right = sorted(people, key=lambda id: x(people[id], HIPS))
        assert {left, right} == {0, 1}
        for id, same in zip((left, right), who(followed[number]), strict=True):
            errors.extend(np.linalg.norm(people[id].joints - still[same].joints - (dx, 0), axis=1))
    tracker.close()
    assert np.mean(errors) < 12
    assert np.percentile(errors, 95) < 35


def crossing(images: list[Image], way: NDArray[np.int_]) -> Iterator[Image]:
    """The left one, cut out of the first image, slides along `way` px, past the right one, who stands."""
    outline = np.array([(680, 190), (770, 190), (800, 330), (800, 560), (860, 920), (690, 930), (650, 560), (640, 300)])
    mask = np.zeros(images[0].shape[:2], np.uint8)
    cv2.fillPoly(mask, [outline.astype(np.int32)], 255)
    mask = np.asarray(cv2.GaussianBlur(mask, (15, 15), 0), np.uint8)
    empty = images[0].copy()
    empty[:, 620:890] = images[0][:, 350:620]
    for dx in way.tolist():
        share = shifted(mask[..., None].repeat(3, axis=2), dx).astype(np.float32) / 255
        share[:, : max(0, dx)] = 0
        yield (empty * (1 - share) + shifted(images[0], dx) * share).astype(np.uint8)


def test_passing_in_front_of_somebody(images: list[Image], model: Path) -> None:
    way = np.arange(-550, 800, 25)
    tracker = mediapipe_tracker(model, 2, "2d")
    walker: int | None = None
    both = 0
    for number, (dx, image) in enumerate(zip(way, crossing(images, way), strict=True)):
        people = tracker.track(Frame(image, number / 30, 0))
        assert set(people) <= {0, 1}
        places = {id: x(pose, NOSE) for id, pose in people.items()}
        if walker is None and len(places) == 2:
            walker = min(places, key=lambda id: places[id])
        if walker is not None and abs(dx - 250) > 150:
            assert places[walker] == pytest.approx(773 + dx, abs=40)
            if len(places) == 2:
                both += 1
                assert places[1 - walker] == pytest.approx(1025, abs=25)
    tracker.close()
    assert walker is not None
    assert both > 20
    assert len(places) == 2


def test_a_source_of_poses(video: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(model))
    stop = threading.Event()
    source = open_vision(str(video), "2d", rate="max", stop=stop, loop=True, pose="mediapipe")
    assert (source.unit, source.label) == ("px", "video two_people_indoor.mp4 through mediapipe (as asked)")
    times: list[float] = []
    for frame in source:
        times.append(frame.time)
        if len(times) == 5:
            stop.set()
    assert times == pytest.approx([i / 30 for i in range(5)])
    source.close()
    source.close()


def test_closing_before_the_first_frame(video: Path, model: Path) -> None:
    source = VisionSource(VideoSource(video, "max", threading.Event()), mediapipe_tracker(model, 2, "3d"))
    assert source.unit == "cm"
    source.close()
    assert list(source) == []


def test_bad_references(tmp_path: Path, model: Path) -> None:
    stop = threading.Event()
    with pytest.raises(SourceError, match="does not exist"):
        open_vision(str(tmp_path / "none.mp4"), "2d", rate="max", stop=stop, pose_model=str(model))
    with pytest.raises(PoseModelError, match="no pose model"):
        open_vision(0, "2d", rate="max", stop=stop, pose_model=str(tmp_path / "none.task"))
    source = open_vision(97, "2d", rate="max", stop=stop, pose_model=str(model))
    with pytest.raises(SourceError, match="no camera 97"):
        list(source)


def test_with_a_focal_length_people_stand_before_the_camera(model: Path, video: Path) -> None:
    """Both are adults some 4 m away, the left one beside the other; they keep their distance in the handshake."""
    source = open_vision(
        str(video), "3d", rate="max", stop=threading.Event(), max_persons=2, pose_model=str(model), focal="guess"
    )
    assert "placed by a guessed focal length" in source.label
    frames = list(itertools.islice(source, 40))
    hips = np.array([[frame.people[id].joints[HIPS].mean(axis=0) for id in (0, 1)] for frame in frames])
    assert ((hips[..., 2] > 250) & (hips[..., 2] < 700)).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"demo": True, "focal": 1000.0}, "--focal places people before one camera"),
        ({"video": ("a", "b"), "calibration": "c", "focal": 1000.0}, "--focal places people before one camera"),
        ({"video": ("a",), "focal": "guess", "dims": "2d"}, "--focal gives 3D poses"),
        ({"video": ("a",), "focal": 0.0}, "--focal 0: px, more than 0, or guess"),
    ],
)
def test_a_focal_length_where_it_says_nothing(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Config(**given)
