"""Who takes another's place gets an id of their own, whenever they come; who comes back gets their own again."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from stream.pose.crop import Image
from stream.pose.detection_tracker import DetectionTracker
from stream.pose.movenet import MoveNet
from stream.pose.source import Tracker, mediapipe_tracker
from stream.sources.base import Frame
from stream.sources.video import VideoSource

EACH = 30
"""Frames in which each of two men is seen, one in grey and one in black, at the same place."""


@pytest.fixture(scope="module")
def men(shared: Path) -> dict[str, list[Image]]:
    with closing(VideoSource(shared / "cases/sound/swap0.avi", "max", threading.Event())) as source:
        images = [frame.image for frame in source]
    return {"grey": images[:EACH], "black": images[EACH : 2 * EACH]}


@pytest.fixture(params=["movenet", "mediapipe"])
def tracker(request: pytest.FixtureRequest, shared: Path) -> Iterator[Tracker]:
    model = shared / "models/pose_landmarker_full.task"
    made: Tracker = DetectionTracker(MoveNet(), 6) if request.param == "movenet" else mediapipe_tracker(model, 2, "2d")
    with closing(made):
        yield made


def ids(tracker: Tracker, images: list[Image]) -> list[set[int]]:
    return [set(tracker.track(Frame(image, n / 30, n))) for n, image in enumerate(images)]


def nobody(image: Image, seconds: float) -> list[Image]:
    return [np.full_like(image, image[0, 0, 0])] * round(30 * seconds)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("first", "second"), [("grey", "black"), ("black", "grey")])
def test_another_person(tracker: Tracker, men: dict[str, list[Image]], first: str, second: str, seconds: float) -> None:
    away = nobody(men[first][0], seconds)
    found = ids(tracker, men[first] + away + men[second])
    assert found[:EACH] == [{0}] * EACH
    after = found[EACH + len(away) :]
    assert set().union(*after) == {1}  # never the first one's
    assert after[3:] == [{1}] * (EACH - 3)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.3, 1.0])
@pytest.mark.parametrize("who", ["grey", "black"])
def test_the_same_person(tracker: Tracker, men: dict[str, list[Image]], who: str, seconds: float) -> None:
    away = nobody(men[who][0], seconds)
    found = ids(tracker, men[who] + away + men[who][::-1])
    assert found == [{0}] * EACH + [set()] * len(away) + [{0}] * EACH
