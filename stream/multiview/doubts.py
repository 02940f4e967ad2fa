"""Tells what is wrong where cameras do not see the same people: they are not in time, or not where they should be.

Rays through the same joint of the same person meet. Where they meet better when one camera's poses are taken from
some ticks later or earlier, that camera is not in time with the first.
"""

import itertools
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.motion.projection import Camera
from stream.motion.skeleton import SEEN, J, Pose

LOOK_S = 4.0
"""Seconds after which cameras are compared, once."""

FURTHEST_S = 1.0
"""Largest delay, s, that is looked for: people are where they were, nearly, after a fraction of it."""

SMALLEST_S = 0.1
"""Delays below it cost less than what pose estimators err by."""

BETTER = 0.6
"""A delay counts if rays miss each other by less than this share of what they miss by without it ..."""

MISSES_CM = 2.0
"""... and if that is so much, cm: nearer than that they meet."""

FEWEST = 60
"""Joints seen by both cameras that a comparison needs."""

STRANGERS_CM = 8.0
"""Rays of people that miss each other by more, cm, are of different people, or of wrong cameras."""

_Rays = NDArray[np.float64]  # [..., 17, 3]: directions in the world, NaN where a joint is not seen

_Seen = dict[int, dict[int, _Rays]]  # one camera's: by id and tick


class Doubts:
    """Watches what the cameras see; has one sentence to say, or none. cameras: in the order of the views."""

    def __init__(self, cameras: Sequence[Camera], fps: float) -> None:
        self._cameras, self._fps = cameras, fps
        self._ticks = 0
        self._rays: list[_Seen] = [{} for _ in cameras]
        self._done = False

    def about(self, views: Sequence[Mapping[int, Pose]]) -> str | None:
        """Take one tick; return what is wrong, once, when enough has been seen."""
        if self._done:
            return None
        for seen, camera, view in zip(self._rays, self._cameras, views, strict=True):
            for number, pose in view.items():
                seen.setdefault(number, {})[self._ticks] = _rays(camera, pose)
        self._ticks += 1
        return self.at_the_end() if self._ticks >= LOOK_S * self._fps else None

    def at_the_end(self) -> str | None:
        """Return what is wrong as far as can be told; None when that has been told, or nothing is."""
        if self._done:
            return None
        self._done = True
        rays, self._rays = self._rays, []
        if late := self._out_of_time(rays):
            return (
                f"cameras are not in time with {self._cameras[0].name}: {', '.join(late)}; let videos begin at the "
                "same moment, and use cameras that are equally fast"
            )
        if strangers := self._elsewhere(rays):
            return (
                f"{' and '.join(strangers)} see people where no other camera sees any: are the cameras in the order of "
                "the calibration, has none been moved since, and do all see the same moment?"
            )
        return None

    def _out_of_time(self, rays: Sequence[_Seen]) -> list[str]:
        """Return which cameras are how far from the first one in time."""
        late = []
        furthest = round(FURTHEST_S * self._fps)
        for view in range(1, len(rays)):
            misses = {shift: self._miss(rays, 0, view, shift) for shift in range(-furthest, furthest + 1)}
            best = min(misses, key=lambda shift: misses[shift])
            if misses[0] > MISSES_CM and misses[best] < BETTER * min(misses[0], STRANGERS_CM):
                delay = best / self._fps
                if abs(delay) >= SMALLEST_S:
                    how = "behind" if delay > 0 else "ahead of"
                    late.append(f"{self._cameras[view].name} about {abs(delay):.1f} s {how} it")
        return late

    def _elsewhere(self, rays: Sequence[_Seen]) -> list[str]:
        """Return the cameras that see people, and nobody whom another camera sees."""
        pairs = list(itertools.combinations(range(len(rays)), 2))
        miss = {pair: self._miss(rays, *pair, 0) for pair in pairs}
        nearest = [min(miss[pair] for pair in pairs if view in pair) for view in range(len(rays))]
        return [
            camera.name for camera, away in zip(self._cameras, nearest, strict=True) if STRANGERS_CM < away < np.inf
        ]

    def _miss(self, rays: Sequence[_Seen], one: int, other: int, shift: int) -> float:
        """Return by how much, cm, the people of two cameras who meet best miss each other; inf where none is in both.

        shift: ticks by which those of the other camera are taken later.
        """
        first, second = self._cameras[one], self._cameras[other]
        between = first.R.T @ first.t - second.R.T @ second.t
        best = np.inf
        for a, b in itertools.product(rays[one].values(), rays[other].values()):
            ticks = [tick for tick in a if tick + shift in b]
            if len(ticks) * J >= FEWEST:
                best = min(
                    best, _miss(np.stack([a[t] for t in ticks]), np.stack([b[t + shift] for t in ticks]), between)
                )
        return best


def _rays(camera: Camera, pose: Pose) -> _Rays:
    """Return the directions [17, 3] in which a camera sees joints; NaN for those that it does not see."""
    flat = cv2.undistortPoints(pose.joints.astype(np.float64)[:, None], camera.K, camera.distortion)[:, 0]
    rays = np.column_stack([flat, np.ones(J)]) @ camera.R
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    return np.where(pose.confidence[:, None] >= SEEN, rays, np.nan)


def _miss(one: _Rays, other: _Rays, between: NDArray[np.float64]) -> float:
    """Return the median distance, cm, at which rays from two places pass each other; inf where too few are seen."""
    across = np.cross(one, other)
    width = np.linalg.norm(across, axis=-1)
    distances = np.abs(across @ between) / np.maximum(width, 1e-6)
    seen = distances[np.isfinite(distances) & (width > 0.05)]  # nearly parallel rays tell nothing
    return float(np.median(seen)) if len(seen) >= FEWEST else np.inf
