"""The One Euro filter over the joints of people: it takes the shake out of who stands still and follows who is fast.

Casiez, Roussel, Vogel: 1 Euro Filter (CHI 2012). A low pass whose cutoff rises with speed. It looks only back, so it
lags: docs/performance.md says by how much. With a cutoff of 2 Hz, or 20 Hz for each body height a second, a quarter
more of the shake stayed; with 5 the lag of fast joints was 15 ms instead of 10.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from stream.motion.skeleton import SEEN, Array, Pose
from stream.sources.base import PoseFrame, PoseSource

CUTOFF = 1.0
"""Hz; of a joint at rest. Lower shakes less and lags more."""

BETA = 10.0
"""Hz by which the cutoff rises for each body height a second of a joint's speed."""

SPEED_CUTOFF = 2.0
"""Hz; of the speed itself, which shakes more than the joint."""

BREAK_S = 0.25
"""Seconds after which somebody, or a joint, that was not seen begins anew."""


class SmoothedSource:
    """The people of a source with their joints filtered, by track id; everything else is the source's."""

    def __init__(self, source: PoseSource) -> None:
        self._source = source
        self.unit, self.live = source.unit, source.live
        self.label = f"{source.label}, smoothed"

    @property
    def counts(self) -> dict[str, int]:
        """The source's."""
        return self._source.counts

    def close(self) -> None:
        """Close the source. Idempotent, and safe from another thread."""
        self._source.close()

    def __iter__(self) -> Iterator[PoseFrame]:
        """Yield the source's frames."""
        smoother = Smoother()
        for frame in self._source:
            yield PoseFrame(smoother.smooth(frame.people, frame.time), frame.time, frame.captured_ns, frame.image)


class Smoother:
    """Filters the people of one frame after the other."""

    def __init__(self) -> None:
        self._people: dict[int, _Filter] = {}

    def smooth(self, people: Mapping[int, Pose], time: float) -> dict[int, Pose]:
        """Return the people of the frame at `time`, seconds, rising. Joints that are not seen stay as they are."""
        self._people = {id: one for id, one in self._people.items() if time - one.time <= BREAK_S}
        return {id: self._people.setdefault(id, _Filter()).smooth(pose, time) for id, pose in people.items()}


class _Filter:
    """One person's joints."""

    def __init__(self) -> None:
        self.time = -math.inf
        self._joints: Array = np.zeros(0, np.float32)
        self._speed: Array = np.zeros(0, np.float32)
        self._seen_at = np.zeros(0)

    def smooth(self, pose: Pose, time: float) -> Pose:
        step = time - self.time
        self.time = time
        seen = pose.confidence >= SEEN
        if not math.isfinite(step):
            self._joints, self._speed = pose.joints.copy(), np.zeros_like(pose.joints)
            self._seen_at = np.where(seen, time, -np.inf)
            return pose
        fresh = time - self._seen_at > BREAK_S
        self._seen_at = np.where(seen, time, self._seen_at)
        height = max(float(np.ptp(pose.joints[seen], axis=0).max()) if seen.any() else 0.0, 1e-6)
        speed = (pose.joints - self._joints) / step
        followed = self._speed + _share(SPEED_CUTOFF, step) * (speed - self._speed)
        self._speed = np.where(fresh[:, None], 0, followed).astype(np.float32)
        cutoff = CUTOFF + BETA * np.linalg.norm(self._speed, axis=1) / height
        moved = self._joints + _share(cutoff, step)[:, None] * (pose.joints - self._joints)
        moved = np.where(fresh[:, None], pose.joints, moved)
        self._joints = np.where(seen[:, None], moved, self._joints).astype(np.float32)
        return Pose(np.where(seen[:, None], self._joints, pose.joints), pose.confidence)


def _share(cutoff: float | NDArray[np.floating], step: float) -> NDArray[np.floating]:
    """Return how much of the way to a new value a low pass goes; step: seconds since the last."""
    share: NDArray[np.floating] = 1 / (1 + 1 / (2 * math.pi * np.asarray(cutoff) * step))
    return share
