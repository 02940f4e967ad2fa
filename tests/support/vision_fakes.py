"""A stage with people on it, and a follower and a finder that see them as MediaPipe would."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from stream.motion.skeleton import Array, Pose
from stream.pose.crop import Crop, Image, Rectangle
from stream.pose.crop_tracker import CropTracker
from stream.pose.detection import Detection, extent, pose_distance
from stream.sources.base import Frame

WIDTH, HEIGHT = 1280, 720
HIDES = 0.12
"""Somebody who stands behind another is hidden when they are no further apart (`pose_distance`) than this."""

_BODY = np.array(
    [
        (0, 0), (2, -3), (-2, -3), (5, -2), (-5, -2), (12, 20), (-12, 20), (16, 45), (-16, 45), (17, 68), (-17, 68),
        (8, 70), (-8, 70), (9, 108), (-9, 108), (10, 145), (-10, 145),
    ],
    np.float32,
)  # fmt: skip

Place = tuple[float, float]


def body(place: Place, size: float = 2.0) -> Array:
    """Joints, px, of somebody whose nose is at a place and who is `size` times 145 px tall."""
    return (_BODY * size + place).astype(np.float32)


def detection(joints: Array, confidence: float = 0.9) -> Detection:
    world = np.concatenate([joints - joints[11:13].mean(axis=0), np.zeros((17, 1), np.float32)], axis=1) / 2
    return Detection(joints, world.astype(np.float32), np.full(17, confidence, np.float32))


@dataclass
class Stage:
    """People by name, in order from the front: where each one's nose is at a time, or None while away."""

    people: dict[str, Callable[[float], Place | None]]
    followers: list["FakeFollower"] = field(default_factory=list)
    shape: tuple[int, int] = (HEIGHT, WIDTH)

    def visible(self, time: float) -> dict[str, Array]:
        seen: dict[str, Array] = {}
        for name, way in self.people.items():
            place = way(time)
            if place is None or not (0 < place[0] < self.shape[1]):
                continue
            joints = body(place)
            if all(pose_distance(joints, other) > HIDES for other in seen.values()):
                seen[name] = joints
        return seen

    def image(self, time: float) -> Image:
        """Black, but for the time in its first bytes, from which the finder knows it."""
        image = np.zeros((*self.shape, 3), np.uint8)
        image[0, :8, 0] = np.frombuffer(np.float64(time).tobytes(), np.uint8)
        return image

    def make_follower(self) -> "FakeFollower":
        follower = FakeFollower(self)
        self.followers.append(follower)
        return follower

    def open_followers(self) -> int:
        return sum(not follower.closed for follower in self.followers)


class FakeFollower:
    """Sees whoever is nearest to where it saw somebody last, as long as that is not far."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._last: Array | None = None
        self.closed = False
        self.failures = 0
        self.leaps_to: str | None = None
        self.blind = False

    def detect(self, image: Image, crop: Crop, time: float, only: Rectangle | None = None) -> Detection | None:
        assert not self.closed
        visible = self._stage.visible(time)
        near = _within((crop.x, crop.y, crop.x + crop.side, crop.y + crop.side), visible)
        if only is not None:
            self._last = None
            near = _within(only, near)
        elif self._last is not None:
            near = {name: joints for name, joints in near.items() if pose_distance(joints, self._last) < 0.4}
        if self.blind or not near:
            self._last = None
            return None
        last = self._last
        chosen = min(near.values(), key=lambda joints: 0.0 if last is None else pose_distance(joints, last))
        self._last = visible.get(self.leaps_to, chosen) if self.leaps_to else chosen
        return detection(self._last)

    def close(self) -> None:
        assert not self.closed
        self.closed = True


class FakeFinder:
    """Sees everybody in the square it looks at, and what a test makes it see."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.closed = False
        self.ghosts: list[Array] = []
        self.doubles = False
        self.only_ghosts = False
        self.before: Callable[[], None] = lambda: None

    def find(self, image: Image, view: Crop) -> list[Detection]:
        self.before()
        time = float(np.frombuffer(image[0, :8, 0].tobytes(), np.float64)[0])
        square = (view.x, view.y, view.x + view.side, view.y + view.side)
        people = {} if self.only_ghosts else _within(square, self._stage.visible(time))
        finds = [*people.values(), *self.ghosts]
        if self.doubles:
            finds += [joints + np.float32(0.05 * extent(joints)) for joints in finds]
            finds += [joints - np.float32(0.17 * extent(joints)) for joints in finds]
        return [detection(joints) for joints in finds]

    def close(self) -> None:
        self.closed = True


def _within(square: Rectangle, people: dict[str, Array]) -> dict[str, Array]:
    left, top, right, bottom = square
    middles = {name: joints.mean(axis=0) for name, joints in people.items()}
    return {name: people[name] for name, (x, y) in middles.items() if left <= x <= right and top <= y <= bottom}


class Play:
    """Runs a tracker on a stage at 30 frames a second and keeps what it says."""

    def __init__(self, people: dict[str, Callable[[float], Place | None]], max_persons: int = 2) -> None:
        self.stage = Stage(people)
        self.finder = FakeFinder(self.stage)
        self.tracker = CropTracker(self.stage.make_follower, self.finder, max_persons, "2d")
        self.pause = 0.0
        self.history: list[dict[int, Pose]] = []

    @property
    def time(self) -> float:
        """Seconds at the next frame."""
        return self.pause + len(self.history) / 30

    def go(self, frames: int) -> dict[int, Pose]:
        for _ in range(frames):
            frame = Frame(self.stage.image(self.time), self.time, 0)
            self.history.append(self.tracker.track(frame))
        return self.history[-1]

    def names(self, back: int = 1) -> dict[int, str]:
        """Who each id was, `back` frames ago: the person on the stage at that pose."""
        time = self.time - back / 30
        visible = self.stage.visible(time)
        poses = self.history[-back]
        return {
            id: min(visible, key=lambda name: pose_distance(visible[name], pose.joints)) for id, pose in poses.items()
        }
