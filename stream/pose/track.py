"""One person who is followed: where they were of late, where they should be by now."""

from collections import deque

import numpy as np

from stream.motion.skeleton import Array
from stream.pose.crop import Crop
from stream.pose.detection import HEAD_AND_SHOULDERS, Follower, Sighting, apart

TRAIL = 8
"""Frames over which a person's velocity is taken."""

HORIZON = 0.5
"""Seconds that a person is assumed to go on with that velocity."""


class Track:
    """A person with an id. `follower` is None while they are lost."""

    def __init__(self, id: int, follower: Follower, crop: Crop) -> None:
        self.id = id
        self.follower: Follower | None = follower
        self.crop = crop
        self.misses = 0
        """Frames since the last sound sighting."""
        self._trail: deque[tuple[float, Array]] = deque(maxlen=TRAIL)

    @property
    def seen_at(self) -> float:
        """Seconds; the last time of `remember`."""
        return self._trail[-1][0]

    def remember(self, time: float, sighting: Sighting) -> None:
        """Take a sighting, at a time in seconds, for where the person was."""
        self._trail.append((time, sighting.image))

    def predict(self, time: float) -> Array:
        """Return where the person should be, float32 [17, 2] px, if they go on as before."""
        times, ways = zip(*self._trail, strict=True)
        if len(times) == 1:
            return self._trail[-1][1]
        steps = np.diff([joints[HEAD_AND_SHOULDERS].mean(axis=0) for joints in ways], axis=0)
        # The median: a landmarker that leaps onto somebody else is found out a frame later.
        velocity = np.median(steps / np.diff(times)[:, None], axis=0)
        gone: Array = ways[-1] + (velocity * min(time - times[-1], HORIZON)).astype(np.float32)
        return gone

    def surprise(self, time: float, sighting: Sighting) -> float:
        """How far a sighting lies from where the person should be, as `apart` measures it."""
        return apart(self.predict(time), sighting.image)
