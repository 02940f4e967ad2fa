"""The built-in motion: people who walk in a circle and people who stand inside it and wave; crowds, in more circles."""

import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stream.errors import SourceError
from stream.motion.projection import Camera, Dims, look
from stream.motion.skeleton import Array, J, Pose
from stream.sources.base import Pacer, PoseFrame, Rate, Unit
from stream.sources.gait import HEIGHT, STRIDE, Real, body

TOGETHER = 16
"""People in and on one circle."""

MAX_PEOPLE = 256

CAMERA = Camera.aimed("demo", eye=(0, -140, -500), target=(0, -86, 0), focal=1300)
"""Stands 5 m before the middle of the circle, 1.4 m high; 1920 x 1080 px."""

_CIRCLE = 200.0  # cm, radius of the way of those who walk
_BEHIND = 600.0  # cm, from the middle of one circle to that of the next, away from the camera
_INNER = 110.0  # cm, radius of the ring of those who wave, around the one in the middle
_SPEED = 120.0  # cm/s
_SLOTS = np.array([0, 4, 2, 6, 1, 5, 3, 7])  # eighths of the circle: the first few people stand far apart


def demo_pose(person: int, time: float) -> Pose:
    """Person 0 to 255 at a time in seconds, in cm; even numbers walk, odd ones stand and wave."""
    return Pose(_joints(np.array([person]), time)[0], np.ones(J, np.float32))


class DemoSource:
    """`people` (1 to 256) in motion at `fps`, without end or for `seconds`.

    dims: "3d" gives cm, "2d" px of `CAMERA`. Raises SourceError when `people` or `fps` is out of range.
    """

    live = False

    def __init__(
        self,
        dims: Dims,
        rate: Rate,
        stop: threading.Event,
        fps: float = 30,
        people: int = 2,
        seconds: float | None = None,
    ) -> None:
        if not 1 <= people <= MAX_PEOPLE:
            raise SourceError(f"the demo has 1 to {MAX_PEOPLE} people, not {people}")
        if not 0 < fps <= 1000:
            raise SourceError(f"the demo runs at up to 1000 frames a second, not at {fps:g}")
        self._view = CAMERA if dims == "2d" else None
        self._people = np.arange(people)
        self._fps = fps
        self._seconds = np.inf if seconds is None else seconds
        self._pacer = Pacer(rate, stop)
        self._closed = False
        self.unit: Unit = "px" if self._view else "cm"
        self.label = f"demo, {people} people" if people > 1 else "demo, 1 person"

    @property
    def counts(self) -> dict[str, int]:
        """Always empty: nothing is left out."""
        return {}

    def close(self) -> None:
        """End the motion."""
        self._closed = True

    def __iter__(self) -> Iterator[PoseFrame]:
        """Yield frames at 0, 1 / fps, 2 / fps and so on."""
        frame = 0
        while not self._closed and (time := frame / self._fps) < self._seconds:
            captured_ns = self._pacer.wait(time)
            if captured_ns is None:
                return
            joints = _joints(self._people, time)
            confidence = np.ones(joints.shape[:2], np.float32)
            if self._view is not None:
                joints, confidence = look(self._view, joints, confidence)
            people = {i: Pose(joints[i], confidence[i]) for i in range(len(joints))}
            yield PoseFrame(people, time, captured_ns)
            frame += 1


def _joints(person: NDArray[np.int_], time: float) -> Array:
    """Joints of people by number, [P, 17, 3] cm."""
    walking = person % 2 == 0
    slot = person % TOGETHER // 2
    # What tells people apart: 0 to 1, spread evenly.
    own: Real = (person + 1).astype(np.float64) * 0.6180339887 % 1.0
    leg: Real = (150 + 40 * own) / HEIGHT

    # Those who walk: all at one speed and to the left, so that nobody runs into anybody.
    angle = _SLOTS[slot] * (np.pi / 4) - 2.0 + _SPEED / _CIRCLE * time
    here = _CIRCLE * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    ahead = np.stack([-np.sin(angle), np.cos(angle)], axis=-1)
    # Those who stand: one in the middle, the others around, turned more or less to the camera.
    spot = _INNER * (slot > 0) * np.stack([np.cos(slot * 0.9), np.sin(slot * 0.9)])
    facing = np.radians(80) * (own - 0.5)
    here = np.where(walking[:, None], here, spot.T)
    ahead = np.where(walking[:, None], ahead, np.stack([np.sin(facing), -np.cos(facing)], axis=-1))

    pace = np.where(walking, _SPEED / (STRIDE * leg), 0.22 + 0.08 * own)  # steps or sways
    phase = own * 7 + pace * time
    beat: Real = 1.3 * time + own
    circle = np.full(len(person), _CIRCLE)
    local = body(leg, phase, walking.astype(np.float64), circle, _raised(person, own, time), beat)

    left = np.stack([-ahead[:, 1], ahead[:, 0]], axis=-1)
    here = here + np.stack([np.zeros(len(person)), _BEHIND * (person // TOGETHER)], axis=-1)
    floor = here[:, None] + local[..., :1] * ahead[:, None] + local[..., 2:] * left[:, None]
    return np.stack([floor[..., 0], -local[..., 1], floor[..., 1]], axis=-1).astype(np.float32)


def _raised(person: NDArray[np.int_], own: Real, time: float) -> Real:
    """How far the left and right arms are raised to wave, [P, 2]."""
    walking = person % 2 == 0
    slot = person % TOGETHER // 2
    # Who stands waves most of the time, with the left arm, the right or both; every other one who walks
    # greets with the right now and then.
    share = np.where(walking, np.where(slot % 2 == 1, -1.0, -9.0), 0.7)
    swell = np.clip(0.5 + share + 1.6 * np.sin(2 * np.pi * (time / 9.0 + own)), 0.0, 1.0)
    left = ~walking & (slot % 3 != 0)
    right = walking | (slot % 3 != 1)
    raised: Real = (swell * swell * (3 - 2 * swell))[:, None] * np.stack([left, right], axis=-1)
    return raised
