"""One person who is followed: where they were of late, where they should be by now, and how they look."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stream.motion.skeleton import SEEN, Array
from stream.pose.appearance import TORSO, appearance, unlike
from stream.pose.crop import Image
from stream.pose.detection import HEAD_AND_SHOULDERS, Detection, extent, pose_distance

TRAIL = 8
"""Frames over which a person's velocity is taken."""

HORIZON = 0.5
"""Seconds that a person is assumed to go on with that velocity."""

ALIKE = 18.0
"""Appearances less unlike (`unlike`) may be of one person."""

LEARN = 0.1
"""Share by which an appearance follows what is seen: light and posture change slowly."""

DOUBT = 3
"""Frames in a row in which somebody has to look like another before they are another: a hand before the chest, or a
flash, is shorter."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Somebody in an image. covered: somebody else's body lies over or under their torso, which tells nothing then."""

    detection: Detection
    look: Array | None
    covered: bool


class Track:
    """A person. `id` is -1 until they have one."""

    def __init__(self, time: float, seen: Seen) -> None:
        self.id = -1
        self.look: Array | None = None
        self.sights = 0
        self.doubts = 0
        """Frames in a row in which whoever was in their place did not look like them."""
        self.gone = False
        """Whether somebody else took their place: until they are seen elsewhere, looks alone identify them."""
        self._trail: deque[tuple[float, Array]] = deque(maxlen=TRAIL)
        self.remember(time, seen)

    @property
    def seen_at(self) -> float:
        """Seconds; the last time of `remember`."""
        return self._trail[-1][0]

    def remember(self, time: float, seen: Seen) -> None:
        """Take what is seen, at a time in seconds, for the person."""
        self.last = seen
        self.sights += 1
        self.doubts = 0
        self.gone = False
        self._trail.append((time, seen.detection.image))
        if seen.look is not None and not seen.covered:
            self.look = seen.look if self.look is None else self.look + np.float32(LEARN) * (seen.look - self.look)

    def doubt(self) -> bool:
        """Note that who is in the person's place does not look like them; return whether it is somebody else."""
        self.doubts += 1
        if self.doubts < DOUBT:
            return False
        self.doubts = 0
        self.gone = True
        return True

    def looks_like(self, seen: Seen) -> bool:
        """Whether appearance allows that this is the person; it does where it is not known."""
        return self.unlike(seen) < ALIKE

    def unlike(self, seen: Seen) -> float:
        """How different somebody looks from the person; 0 where it is not known."""
        return 0.0 if self.look is None or seen.look is None else unlike(self.look, seen.look)

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

    def distance_from_prediction(self, time: float, detection: Detection) -> float:
        """How far a detection lies from where the person should be, as `pose_distance` measures it."""
        return pose_distance(self.predict(time), detection.image)


def observe(image: Image, people: Sequence[Detection]) -> list[Seen]:
    """Return the people of an image with their looks."""
    return [Seen(one, appearance(image, one.image, one.confidence), _covered(one, people)) for one in people]


def _covered(one: Detection, everybody: Sequence[Detection]) -> bool:
    """Whether another's joints lie within the rectangle of somebody's torso, or nearly."""
    low, high = one.image[TORSO].min(axis=0), one.image[TORSO].max(axis=0)
    room = 0.1 * extent(one.image)
    for other in everybody:
        if other is not one:
            inside = ((other.image > low - room) & (other.image < high + room)).all(axis=1)
            if (inside & (other.confidence >= SEEN)).any():
                return True
    return False
