"""MoveNet and the tracker that finds everybody in each image, on real videos."""

import threading
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from engine import picture_network
from stream.errors import PoseModelError
from stream.motion.clock import SURPLUS, Clock
from stream.motion.projection import Dims
from stream.motion.skeleton import JOINTS, Pose
from stream.pose import movenet
from stream.pose.choice import check_pose_size, choose
from stream.pose.crop import Image
from stream.pose.detection import HEAD_AND_SHOULDERS
from stream.pose.movenet import MoveNet, fit
from stream.pose.source import Thinning, VisionSource, open_vision
from stream.sources.base import Frame, PoseFrame
from stream.sources.video import VideoSource

HIPS = [JOINTS.index("l-hip"), JOINTS.index("r-hip")]


def follow(video: Path, size: int | None = None) -> list[PoseFrame]:
    return list(open_vision(str(video), "2d", rate="max", stop=threading.Event(), pose="movenet", pose_size=size))


@pytest.fixture(scope="module")
def images(shared: Path) -> list[Image]:
    video = shared / "data/video/two_people_indoor.mp4"
    return [frame.image for frame in VideoSource(video, "max", threading.Event())][::18]


@pytest.mark.slow
def test_both_keep_their_ids_through_handshake_and_embrace(shared: Path) -> None:
    frames = follow(shared / "data/video/two_people_indoor.mp4")
    assert len(frames) == 72
    right, left = sorted(frames[0].people, key=lambda id: -frames[0].people[id].joints[HIPS, 0].mean())
    both = [frame.people for frame in frames if len(frame.people) == 2]
    assert len(both) >= 70
    assert {id for frame in frames for id in frame.people} == {left, right}
    for people in both:
        assert 730 < people[left].joints[HIPS, 0].mean() < people[right].joints[HIPS, 0].mean() < 1040


def test_the_same_people_on_both_engines(images: list[Image], monkeypatch: pytest.MonkeyPatch) -> None:
    fast = MoveNet(256)
    assert fast.backend == "openvino"

    def missing(file: Path) -> None:
        raise ImportError("no openvino")

    monkeypatch.setattr(picture_network, "_OpenVinoPictures", missing)
    plain = MoveNet(256)
    assert plain.backend == "onnxruntime"
    for image in images:
        for one, other in zip(fast.detect(image), plain.detect(image), strict=True):
            np.testing.assert_allclose(one.image, other.image, atol=0.5)
            np.testing.assert_allclose(one.confidence, other.confidence, atol=0.01)


def test_joints_do_not_depend_on_the_size_it_looks_at(images: list[Image]) -> None:
    """Heads and shoulders of people 500 px tall stay within 10 px."""
    coarse, fine = MoveNet(256).detect(images[0]), MoveNet(448).detect(images[0])
    coarse, fine = (sorted(people, key=lambda one: one.image[0, 0]) for people in (coarse, fine))
    assert len(coarse) == len(fine) == 2
    for one, other in zip(coarse, fine, strict=True):
        assert np.linalg.norm(one.image - other.image, axis=1)[HEAD_AND_SHOULDERS].mean() < 10


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The longer side of each picture that MoveNet looks at."""
    sizes: list[int] = []

    def note(image: Image, height: int, width: int) -> tuple[NDArray[np.int32], float]:
        sizes.append(max(height, width))
        return fit(image, height, width)

    monkeypatch.setattr(movenet, "fit", note)
    return sizes


def test_it_looks_closer_only_where_somebody_is_small(images: list[Image], looks: list[int]) -> None:
    near = MoveNet()
    for _ in range(3):
        assert len(near.detect(images[0])) == 2
    assert looks == [448, 256, 256]
    looks.clear()
    image = np.full((2160, 3840, 3), 90, np.uint8)
    image[:1080, :1920] = images[0]
    far = MoveNet()
    for _ in range(3):
        far.detect(image)
    assert looks == [448, 448, 448]


class Watcher:
    """A tracker that sees one person, further right in every frame, and notes the times."""

    dims: Dims = "2d"
    counts: ClassVar[dict[str, int]] = {}

    def __init__(self) -> None:
        self.times: list[float] = []

    def warm(self) -> None:
        pass

    def track(self, frame: Frame) -> dict[int, Pose]:
        self.times.append(frame.time)
        joints = np.full((17, 2), 100 + 10 * frame.time, np.float32)
        return {0: Pose(joints, np.ones(17, np.float32))}

    def close(self) -> None:
        pass


def test_frames_that_the_clock_leaves_out_are_not_looked_at(shared: Path) -> None:
    """100 frames at 60 fps: the same ticks come out as when all are looked at, for half the work."""
    video = shared / "data/multiview/cam01.mp4"
    watchers = Watcher(), Watcher()
    ticks, counts = [], []
    for watcher, thinning in zip(watchers, (Thinning(30.0), None), strict=True):
        images = VideoSource(video, "max", threading.Event(), wanted=thinning)
        source = VisionSource(images, watcher, thinning=thinning)
        clock = Clock(30.0)
        taken = [clock.advance(frame.people, frame.time, 0) for frame in source]
        ticks.append([(tick.index, tick.seen, tick.people[0].joints[0, 0]) for each in taken for tick in each])
        counts.append(source.counts)
    assert [len(watcher.times) for watcher in watchers] == [50, 100]
    assert counts == [{SURPLUS: 50}, {}]
    assert ticks[0] == ticks[1]
    assert all(seen for _, seen, _ in ticks[0])


@pytest.mark.parametrize(("shape", "scale"), [((1080, 1920), 256 / 1920), ((100, 60), 2.56), ((7, 900), 256 / 900)])
def test_an_image_fits_and_keeps_its_shape(shape: tuple[int, int], scale: float) -> None:
    image = np.full((*shape, 3), (1, 2, 3), np.uint8)
    picture, found = fit(image, 256, 256)
    assert found == pytest.approx(scale)
    assert picture.shape == (1, 256, 256, 3)
    assert picture[0, 0, 0].tolist() == [3, 2, 1]
    assert (picture[0, ..., 0] == 3).sum() == max(1, round(shape[0] * scale)) * max(1, round(shape[1] * scale))


def test_what_does_not_fit_is_said() -> None:
    assert choose("auto", "2d", None)[0] == "movenet"
    assert choose("auto", "3d", None)[0] == "mediapipe"
    assert choose("auto", "2d", "x.task")[0] == "mediapipe"
    with pytest.raises(PoseModelError, match="2D poses only"):
        choose("movenet", "3d", None)
    with pytest.raises(PoseModelError, match="for mediapipe"):
        choose("movenet", "2d", "x.task")
    for size in (0, 100, 96, 4096):
        with pytest.raises(ValueError, match="a multiple of 32"):
            check_pose_size(size)


def test_a_file_of_another_kind(shared: Path) -> None:
    from engine.errors import EngineError

    for file in (shared / "models/pose_landmarker_full.task", shared / "data/video/README.md"):
        with pytest.raises(EngineError, match="is not a network that takes a picture"):
            picture_network.open_picture_network(file)
