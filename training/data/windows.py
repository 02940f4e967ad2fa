"""Training windows: random stretches of random recordings, seen as a live stream would see them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from stream.motion import box as boxes
from stream.motion.clips import Clip, Mask
from stream.motion.clock import FPS
from stream.motion.projection import Camera
from stream.motion.skeleton import MIRROR, Array, J
from training.data import augment
from training.data.augment import bend, exchange, lean, turn
from training.data.panoptic import EGO, EXO, TRIPLES

__all__ = ["Array", "AugmentConfig", "Window", "WindowSampler", "boxed"]

LOWER_BODY = slice(11, 17)

UNKNOWN = -1.0
"""Where a joint is said to be, in box coordinates, of which nobody knows where it is: outside, so it counts nowhere."""


@dataclass
class AugmentConfig:
    """Which windows are drawn and how they differ from the recordings. Lengths in centimetres, angles in degrees."""

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
    cameras: str = "virtual"  # random ones, or the "exo" or "ego" ones of the Panoptic recordings, with distortion
    joint_requirement: float = 0.9  # share of the joints that must be measured in every frame of a window
    stride: int = 0  # windows begin at multiples of this many frames of the recording; 0: anywhere
    frame_interval: int = 1  # use every N-th frame

    def __post_init__(self) -> None:
        """Raise ValueError where a value makes no sense."""
        if self.cameras not in ("virtual", "exo", "ego"):
            raise ValueError(f"augment.cameras must be virtual, exo or ego, not {self.cameras!r}")
        if self.stride < 0 or self.frame_interval < 1:
            raise ValueError("augment.stride must be 0 or more and augment.frame_interval 1 or more")


@dataclass
class Window:
    """A batch of windows. keypoints: float32 [B, T, 17, D + 1] as the encoder gets them; truth: [B, T, 17, D].

    Windows that several cameras see together have their views after the batch: [B, V, T, 17, ...]. A joint of which
    the truth is not known is at -1. boxes: centre and side of each hop's box, [B, hops, D + 1].
    """

    keypoints: Array
    truth: Array
    boxes: Array


def boxed(joints: Array, confidence: Array, truth: Array, hop: int) -> Window:
    """Put windows of whole hops into their causal boxes, from a fresh start, as the live system does."""
    state = boxes.Box.fresh(len(joints), joints.shape[-1])
    keypoints, true, placed = [], [], []
    for start in range(0, joints.shape[1], hop):
        part = slice(start, start + hop)
        state = boxes.advance(state, joints[:, part], confidence[:, part])
        keypoints.append(boxes.to_keypoints(joints[:, part], confidence[:, part], state))
        true.append(boxes.to_box(truth[:, part], state.centre[:, None, None], state.side[:, None, None, None]))
        placed.append(np.concatenate([state.centre, state.side[:, None]], axis=1))
    return Window(np.concatenate(keypoints, axis=1), np.concatenate(true, axis=1), np.stack(placed, axis=1))


@dataclass
class WindowSampler:
    """Draws batches of windows of `hops * hop` frames at 30 fps from groups of clips, each group with its share.

    views: cameras that see each 2D window together.
    """

    groups: Sequence[Sequence[Clip]]
    shares: Sequence[float]
    dims: int
    hop: int
    hops: int
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    views: int = 1

    def __post_init__(self) -> None:
        """Leave out what is too short for one window and weigh the rest by its length.

        Raises ValueError where a group has nothing left, or no recording has the cameras that are asked for.
        """
        need = self.hop * self.hops * self.augment.speed[1] * self.augment.frame_interval
        self._groups, self._weights = [], []
        for number, group in enumerate(self.groups):
            parts = [part for clip in group for part in _measured_parts(clip, self.augment.joint_requirement)]
            kept = [part for part in parts if len(part.joints) > need * part.fps / FPS]
            if not kept:
                raise ValueError(f"group {number} of the recordings has none as long as {need / FPS:.1f} seconds")
            seconds = np.array([len(c.joints) / c.fps for c in kept])
            self._groups.append(kept)
            self._weights.append(seconds / seconds.sum())
        self._cameras = self._camera_groups() if self.dims == 2 and self.augment.cameras != "virtual" else []

    def _camera_groups(self) -> list[tuple[Camera, ...]]:
        rigs = {id(clip.cameras): {c.name: c for c in clip.cameras} for group in self._groups for clip in group}
        names: Sequence[tuple[str, ...]] = [(name,) for name in (EXO if self.augment.cameras == "exo" else EGO)]
        if self.views > 1:
            names = [triple[: self.views] for triple in TRIPLES if set(triple) <= {name for (name,) in names}]
        found = [tuple(rig[n] for n in group) for rig in rigs.values() for group in names if rig.keys() >= set(group)]
        if not found or self.views > len(found[0]):
            raise ValueError(
                f"no Panoptic recording with {self.views} {self.augment.cameras} cameras together in the training "
                "data: take augment.cameras=virtual"
            )
        return found

    def draw(self, rng: np.random.Generator, batch: int) -> Window:
        """Draw one batch."""
        clean, known = self._stretches(rng, batch)
        body, known = self._body(rng, clean, known)
        truth, known, visible = self._view(rng, body, known)
        joints, confidence = self._detect(rng, truth)
        window = boxed(joints, confidence * visible, truth, self.hop)
        window.truth[~known] = UNKNOWN
        if self.views == 1:
            return window
        parts = (window.keypoints, window.truth, window.boxes)
        return Window(*(part.reshape(batch, self.views, *part.shape[1:]) for part in parts))

    def _stretches(self, rng: np.random.Generator, batch: int) -> tuple[Array, Mask]:
        drawn = [self._stretch(rng) for _ in range(batch)]
        clean, known = np.stack([joints for joints, _ in drawn]), np.stack([known for _, known in drawn])
        backward = rng.random(batch) < self.augment.backward
        clean[backward], known[backward] = clean[backward, ::-1], known[backward, ::-1]
        return clean, known

    def _stretch(self, rng: np.random.Generator) -> tuple[Array, Mask]:
        shares = np.asarray(self.shares) / sum(self.shares)
        group = rng.choice(len(self._groups), p=shares)
        clip = self._groups[group][rng.choice(len(self._groups[group]), p=self._weights[group])]
        step = clip.fps / FPS * rng.uniform(*self.augment.speed) * self.augment.frame_interval
        index = np.arange(self.hop * self.hops) * step
        start = rng.uniform(0, len(clip.joints) - 1 - index[-1])
        if self.augment.stride:
            start = start // self.augment.stride * self.augment.stride
        return clip.at(index + start)

    def _body(self, rng: np.random.Generator, joints: Array, known: Mask) -> tuple[Array, Mask]:
        a, batch = self.augment, len(joints)
        mixed = rng.random(batch) < a.exchanged
        if mixed.any():
            donors, of_donors = self._stretches(rng, int(mixed.sum()))
            joints[mixed] = exchange(joints[mixed], donors, rng, a.exchanged_limbs)
            known[mixed] &= of_donors
        joints = lean(bend(joints, rng, a.bend, a.length), rng, a.lean)
        joints = joints - joints.mean(axis=(1, 2), keepdims=True)
        wide = rng.uniform(*a.width, size=(batch, 1, 1)).astype(np.float32)
        joints = joints * np.stack([wide, np.ones_like(wide), wide], axis=-1)
        flip = rng.random(batch) < 0.5
        mirrored = joints[flip][:, :, MIRROR]
        mirrored[..., 0] *= -1
        joints[flip] = mirrored
        known[flip] = known[flip][:, :, MIRROR]
        return turn(joints, rng.uniform(0, 2 * np.pi, batch)), known

    def _view(self, rng: np.random.Generator, joints: Array, known: Mask) -> tuple[Array, Mask, Mask]:
        """Return what the cameras see, [B * V, T, 17, D], which of it is known and which is also in the image."""
        a = self.augment
        if self.dims == 3:
            return joints, known, known
        if self._cameras:
            places, valid, inside = augment.calibrated(joints, rng, self._cameras)
            masks = [(known[:, None] & mask).reshape(-1, *mask.shape[2:]) for mask in (valid, inside)]
            return places.reshape(-1, *places.shape[2:]), masks[0], masks[1]
        seen = []
        for number in range(self.views):
            body = turn(joints, rng.uniform(0, 2 * np.pi, len(joints))) if number else joints
            seen.append(augment.virtual(body, rng, a.level, a.distance, a.elevation, a.roll))
        known = np.repeat(known, self.views, axis=0)
        return np.stack(seen, axis=1).reshape(-1, *seen[0].shape[1:]), known, known

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


def _measured_parts(clip: Clip, requirement: float) -> Iterator[Clip]:
    """Yield the stretches of a clip in which every frame has this share of its joints measured."""
    if clip.measured is None:
        yield clip
        return
    enough = np.concatenate([[False], clip.measured.mean(axis=1) >= requirement, [False]])
    edges = np.flatnonzero(np.diff(enough))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        yield clip.part(start, stop)
