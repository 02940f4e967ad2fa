"""Four ordinary videos and their calibration as one source of 3D poses, down to the packets."""

import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import call
from stream import producer
from stream.client import TokenStream
from stream.command.child import ProducerProcess
from stream.command.source import SourceFlags, open_source
from stream.motion.skeleton import BONES, SEEN, Pose
from stream.producer import Config

VIDEOS = ("cam01.mp4", "cam02.mp4", "cam03.mp4", "cam04.mp4")


def flags(folder: Path, *videos: str) -> dict[str, Any]:
    files = tuple(str(folder / video) for video in videos or VIDEOS)
    return {"video": files, "calibration": str(folder / "Calib.qca.txt"), "rate": "max"}


def lengths(poses: list[Pose]) -> np.ndarray:
    """Of arms, legs and trunk, cm [frames, limbs]; NaN where a joint is not seen."""
    joints = [np.where(pose.confidence[:, None] >= SEEN, pose.joints, np.nan) for pose in poses]
    return np.array([[np.linalg.norm(each[a] - each[b]) for a, b in BONES[5:]] for each in joints])


@pytest.mark.slow
def test_people_before_four_cameras_are_placed_steadily(shared: Path) -> None:
    """Two people cross before a bystander, who leaves the picture of one of the two cameras that see them."""
    source = open_source(SourceFlags(**flags(shared / "data/multiview")), 3, threading.Event())
    frames = list(source)
    assert (source.unit, len(frames)) == ("cm", 50)
    poses = defaultdict(list)
    for frame in frames:
        for id, pose in frame.people.items():
            poses[id].append(pose)
    assert sorted(poses) == [0, 1, 2]
    assert sorted(len(each) >= 48 for each in poses.values()) == [False, True, True]
    for each in poses.values():
        table = lengths(each)
        seen = table[:, np.isfinite(table).any(axis=0)]  # nobody ever saw the bystander's one wrist
        assert np.nanmedian(np.abs(seen - np.nanmedian(seen, axis=0))) < 2  # cm
        trunk = np.nanmedian(table[:, 6])
        assert 35 < trunk < 60
        middle = each[len(each) // 2].joints
        assert -220 < middle[0, 1] < middle[11, 1] < middle[13, 1] < 20  # nose, hip, knee, y down, floor at 0


@pytest.mark.slow
def test_a_producer_makes_3d_tokens_of_ordinary_videos(shared: Path) -> None:
    folder = shared / "data/multiview"
    given = [word for video in VIDEOS for word in ("--video", str(folder / video))]
    with ProducerProcess([*given, "--calibration", str(folder / "Calib.qca.txt"), "--rate", "max"]) as process:
        with TokenStream(process.address, decode=True, once=True, timeout=100) as stream:
            motions = list(stream.motions())
        assert process.finish(timeout=20) == 0
    assert {packet.track for packet, _ in motions} == {0, 1, 2}
    assert all(packet.unit == "cm" and packet.stream == "video" for packet, _ in motions)
    assert np.median([np.ptp(motion.joints[..., 1]) for _, motion in motions]) == pytest.approx(150, abs=30)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"video": ("a", "b")}, "several cameras need --calibration"),
        ({"video": ("a", "a"), "calibration": "c"}, "given twice"),
        ({"camera": (0,), "calibration": "c"}, "--calibration is for several cameras"),
        ({"camera": (0, -1), "calibration": "c"}, "--camera -1: cameras count from 0"),
        ({"camera": (0, 1), "video": ("a",), "calibration": "c"}, "give one source"),
        ({"video": ("a", "b"), "calibration": "c", "dims": "2d"}, "--calibration gives 3D poses"),
        ({"video": ("a", "b"), "calibration": "c", "loop": True}, "--loop does not go with --calibration"),
        ({"video": ("a", "b"), "calibration": "c", "with_picture": True}, "--with-picture goes with one"),
        ({"demo": True, "calibration": "c"}, "--calibration is for several cameras"),
    ],
)
def test_flags_that_do_not_go_together(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Config(**given)


def test_what_does_not_fit_the_calibration_is_one_line(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared / "data/multiview"
    (tmp_path / "cam02.mp4").symlink_to(shared / "data/video/two_people_indoor.mp4")
    videos = ["--video", str(folder / "cam01.mp4"), "--video", str(tmp_path / "cam02.mp4")]
    calibration = ["--calibration", str(folder / "Calib.qca.txt"), "--bind", "tcp://127.0.0.1:*"]
    assert call(producer, [*videos, *calibration]) == 3
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "is 1920 x 1080, but its camera is calibrated for 1088 x 1920 px" in line
    assert call(producer, [*videos, *calibration, "--tokenizer", "heatmap2d-f8"]) == 5
    assert "--calibration gives 3D poses" in capsys.readouterr().err
