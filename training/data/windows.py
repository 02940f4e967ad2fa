"""Training windows: random stretches of random recordings, seen as a live stream would see them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.motion import box as boxes
from stream.motion.clock import FPS
from stream.motion.skeleton import MIRROR, J
from training.data.limbs import bend, exchange, lean, turn
from training.data.recordings import Clip

Array = NDArray[np.float32]

LOWER_BODY = slice(11, 17)


@dataclass
class AugmentConfig:
    """How windows differ from the recordings. Lengths in centimetres, angles in degrees."""

    width: tuple[float, float] = (0.85, 1.35)  # of the body's horizontal extent: people are not all alike
    speed: tuple[float, float] = (0.8, 1.25)
    backward: float = 0.3  # share of windows played from their end
    exchanged: float = 0.5  # share of windows with limbs of others
    exchanged_limbs: float = 0.5  # share of the limbs of those
    bend: float = 15.0  # standard deviation of each limb's constant turn about its root
    length: float = 0.15  # largest change of a limb's length, as a share of it
    lean: float = 8.0  # standard deviation of the whole body's constant turn about any axis
    noise: float = 1.0  # largest standard deviation of a detector's jitter
    noisy: float = 0.5  # share of windows with jitter
    gappy: float = 0.3  # share of windows in which some joints are hidden for a while
    half: float = 0.08  # share of windows in which the lower body is out of the picture
    level: float = 0.3  # share of 2D windows seen straight on, without perspective
    distance: tuple[float, float] = (200.0, 800.0)  # of the camera
    elevation: tuple[float, float] = (-15.0, 45.0)
    roll: float = 5.0


@dataclass
class Window:
    """A batch of windows. keypoints: float32 [B, T, 17, D + 1] as the encoder gets them; truth: [B, T, 17, D]."""

    keypoints: Array
    truth: Array


def boxed(joints: Array, confidence: Array, truth: Array, hop: int) -> Window:
    """Put windows of whole hops into their causal boxes, from a fresh start, as the live system does."""
    state = boxes.Box.fresh(len(joints), joints.shape[-1])
    keypoints, true = [], []
    for start in range(0, joints.shape[1], hop):
        part = slice(start, start + hop)
        state = boxes.advance(state, joints[:, part], confidence[:, part])
        keypoints.append(boxes.to_keypoints(joints[:, part], confidence[:, part], state))
        true.append(boxes.to_box(truth[:, part], state.centre[:, None, None], state.side[:, None, None, None]))
    return Window(np.concatenate(keypoints, axis=1), np.concatenate(true, axis=1))


@dataclass
class WindowSampler:
    """Draws batches of windows of `hops * hop` frames at 30 fps from groups of clips, each group with its share."""

    groups: Sequence[Sequence[Clip]]
    shares: Sequence[float]
    dims: int
    hop: int
    hops: int
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        """Leave out clips that are too short for one window and weigh the rest by their length."""
        need = self.hop * self.hops * self.augment.speed[1]
        self._groups = [[c for c in group if len(c.joints) > need * c.fps / FPS] for group in self.groups]
        self._weights = []
        for group in self._groups:
            seconds = np.array([len(c.joints) / c.fps for c in group])
            self._weights.append(seconds / seconds.sum())

    def draw(self, rng: np.random.Generator, batch: int) -> Window:
        """Draw one batch."""
        clean = self._stretches(rng, batch)
        truth = self._view(rng, self._body(rng, clean))
        joints, confidence = self._detect(rng, truth)
        return boxed(joints, confidence, truth, self.hop)

    def _stretches(self, rng: np.random.Generator, batch: int) -> Array:
        clean = np.stack([self._stretch(rng) for _ in range(batch)])
        backward = rng.random(batch) < self.augment.backward
        clean[backward] = clean[backward, ::-1]
        return clean

    def _stretch(self, rng: np.random.Generator) -> Array:
        shares = np.asarray(self.shares) / sum(self.shares)
        group = rng.choice(len(self._groups), p=shares)
        clip = self._groups[group][rng.choice(len(self._groups[group]), p=self._weights[group])]
        step = clip.fps / FPS * rng.uniform(*self.augment.speed)
        index = np.arange(self.hop * self.hops) * step
        index = index + rng.uniform(0, len(clip.joints) - 1 - index[-1])
        before = index.astype(int)
        share = (index - before).astype(np.float32)[:, None, None]
        return clip.joints[before] * (1 - share) + clip.joints[before + 1] * share

    def _body(self, rng: np.random.Generator, joints: Array) -> Array:
        a, batch = self.augment, len(joints)
        mixed = rng.random(batch) < a.exchanged
        if mixed.any():
            joints[mixed] = exchange(joints[mixed], self._stretches(rng, int(mixed.sum())), rng, a.exchanged_limbs)
        joints = lean(bend(joints, rng, a.bend, a.length), rng, a.lean)
        joints = joints - joints.mean(axis=(1, 2), keepdims=True)
        wide = rng.uniform(*a.width, size=(batch, 1, 1)).astype(np.float32)
        joints = joints * np.stack([wide, np.ones_like(wide), wide], axis=-1)
        flip = rng.random(batch) < 0.5
        mirrored = joints[flip][:, :, MIRROR]
        mirrored[..., 0] *= -1
        joints[flip] = mirrored
        return turn(joints, rng.uniform(0, 2 * np.pi, batch))

    def _view(self, rng: np.random.Generator, joints: Array) -> Array:
        if self.dims == 3:
            return joints
        a, batch = self.augment, len(joints)
        level = rng.random(batch) < a.level
        tilt = np.where(level, 0, np.radians(rng.uniform(*a.elevation, size=batch)))[:, None, None]
        roll = np.where(level, 0, np.radians(rng.uniform(-a.roll, a.roll, size=batch)))[:, None, None]
        x, y, z = np.moveaxis(joints, -1, 0)
        y, z = np.cos(tilt) * y + np.sin(tilt) * z, np.cos(tilt) * z - np.sin(tilt) * y
        x, y = np.cos(roll) * x - np.sin(roll) * y, np.sin(roll) * x + np.cos(roll) * y
        nearest = z.min(axis=(1, 2))
        distance = np.maximum(rng.uniform(*a.distance, size=batch), 80 - nearest)[:, None, None]
        depth = np.where(level[:, None, None], 1, 1 + z / distance)
        return np.stack([x / depth, y / depth], axis=-1).astype(np.float32)

    def _detect(self, rng: np.random.Generator, truth: Array) -> tuple[Array, Array]:
        a, (batch, frames) = self.augment, truth.shape[:2]
        level = rng.uniform(0, a.noise, size=(batch, 1, 1, 1)) * (rng.random((batch, 1, 1, 1)) < a.noisy)
        joints = (truth + level * rng.standard_normal(truth.shape)).astype(np.float32)
        hidden = (rng.random((batch, 1, J)) < 0.15) & (rng.random((batch, 1, 1)) < a.gappy)
        start = rng.integers(-frames // 2, frames, size=(batch, 1, J))
        length = rng.integers(1, frames, size=(batch, 1, J))
        now = np.arange(frames)[None, :, None]
        confidence = np.where(hidden & (now >= start) & (now < start + length), 0, 1).astype(np.float32)
        confidence[rng.random(batch) < a.half, :, LOWER_BODY] = 0
        return joints, confidence
