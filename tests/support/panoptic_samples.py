"""Small Panoptic recordings that tests make themselves, and how they replay them."""

import json
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.errors import SourceError
from stream.motion.panoptic import POSES, frame_name
from stream.motion.projection import Dims
from stream.motion.skeleton import FROM_PANOPTIC19, Pose
from stream.sources.base import PoseFrame
from stream.sources.panoptic import PanopticSource


def source(path: Path, dims: Dims = "3d", **kwargs: Any) -> PanopticSource:
    return PanopticSource(path, dims, "max", threading.Event(), **kwargs)


def replay(path: Path, dims: Dims = "3d", **kwargs: Any) -> list[PoseFrame]:
    return list(source(path, dims, **kwargs))


def replay_to_failure(replayed: PanopticSource) -> tuple[list[PoseFrame], str]:
    frames = []
    try:
        for frame in replayed:
            frames.append(frame)
    except SourceError as error:
        return frames, str(error)
    pytest.fail("the replay ended well")


def scene(*bodies: tuple[int, np.ndarray], time: float | None = 0.0) -> dict[str, Any]:
    """The content of a frame; a body is its id and [19, 4] of x, y, z, confidence."""
    listed = [{"id": i, "joints19": joints.ravel().tolist()} for i, joints in bodies]
    content: dict[str, Any] = {"version": 0.7, "fpsType": "hd_29_97", "bodies": listed}
    return content if time is None else content | {"univTime": time}


def standing(x: float = 0.0) -> np.ndarray:
    """[19, 4]: some points around a place, all measured."""
    joints = np.random.default_rng(int(x)).uniform(-40, 40, (19, 4))
    joints[:, 0] += x
    joints[:, 1] -= 100
    joints[:, 3] = np.linspace(0.15, 0.7, 19)
    return joints


def panoptic19(pose: Pose) -> np.ndarray:
    """[19, 4]: a body of 17 joints with the neck and mid-hip that Panoptic has beside them, well measured."""
    joints = np.full((19, 4), 0.6)
    joints[FROM_PANOPTIC19, :3] = pose.joints
    joints[0, :3] = pose.joints[[5, 6]].mean(axis=0)
    joints[2, :3] = pose.joints[[11, 12]].mean(axis=0)
    return joints


def write(sequence: Path, frames: dict[int, dict[str, Any] | bytes], calibrated: bool = True) -> Path:
    folder = sequence / POSES
    folder.mkdir(parents=True)
    for number, content in frames.items():
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / frame_name(number)).write_bytes(raw)
    if calibrated:
        (sequence / f"calibration_{sequence.name}.json").write_text(json.dumps(calibration()), encoding="utf-8")
    return sequence


def calibration() -> dict[str, Any]:
    entry = {
        "resolution": [1920, 1080],
        "K": [[1400, 0, 960], [0, 1400, 540], [0, 0, 1]],
        "R": np.eye(3).tolist(),
        "t": [[0], [100], [400]],
        "distCoef": [0, 0, 0, 0, 0],
    }
    kinds = {"01_01": "vga", "00_00": "hd", "00_03": "hd", "00_09": "hd"}
    return {"cameras": [entry | {"name": name, "type": kind} for name, kind in kinds.items()]}


def ten_frames() -> dict[int, dict[str, Any] | bytes]:
    return {i: scene((0, standing(i)), time=1000 + i * 100 / 3) for i in range(10)}


def pack(sequence: Path, tar: Path, name: Callable[[Path], str], order: int = 1) -> Path:
    """Put the poses of a sequence into a tar under the names that `name` gives."""
    with tarfile.open(tar, "w:gz" if tar.suffix in (".gz", ".tgz") else "w") as archive:
        for file in sorted((sequence / POSES).iterdir())[::order]:
            archive.add(file, name(file))
    return tar


def assert_same(one: list[PoseFrame], other: list[PoseFrame]) -> None:
    assert [f.time for f in one] == [f.time for f in other]
    for a, b in zip(one, other, strict=True):
        assert a.people.keys() == b.people.keys()
        for track in a.people:
            np.testing.assert_array_equal(a.people[track].joints, b.people[track].joints)
            np.testing.assert_array_equal(a.people[track].confidence, b.people[track].confidence)


class FakeTime(threading.Event):
    """A clock that only moves when someone waits for the event."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 50.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.now += timeout
        return self.is_set()
