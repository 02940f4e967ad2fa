"""Which of the people in an image is whom: by place, by the way they went, and by how they look."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from stream.motion.skeleton import SEEN, Array
from stream.pose.appearance import TORSO, unlike
from stream.pose.detection import Sighting, apart, extent

TRAIL = 8
"""Frames over which a person's velocity is taken."""

HORIZON = 0.5
"""Seconds that a person is assumed to go on with that velocity."""

NEAR = 0.5
"""Somebody no further from where a person should be, in bodies (`apart`), may be that person ..."""

PER_SECOND = 1.0
FURTHEST = 1.2
"""... and so much further for each second since the person was seen, up to this."""

LOOK = 0.01
"""Weight of appearance against place: people whose bodies meet are told apart by it."""

ALIKE = 18.0
"""Appearances less unlike (`unlike`) may be of one person."""

LEARN = 0.1
"""Share by which an appearance follows what is seen: light and posture change slowly."""

DOUBLE = 0.04
"""Two sightings less far apart are of one person."""

_NEVER = 1e3  # cost of a pair that must not be: any number of allowed ones costs less


@dataclass(frozen=True, slots=True)
class Seen:
    """Somebody in an image. covered: somebody else's body lies over or under their torso, which tells nothing then."""

    sighting: Sighting
    look: Array | None
    covered: bool


class Person:
    """Somebody who is followed. `id` is -1 until they have one."""

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
        self._trail.append((time, seen.sighting.image))
        if seen.look is not None and not seen.covered:
            self.look = seen.look if self.look is None else self.look + np.float32(LEARN) * (seen.look - self.look)

    def leave(self, time: float) -> None:
        """Note that somebody else stands where the person was."""
        self.doubts = 0
        self.gone = True

    def looks_like(self, seen: Seen) -> bool:
        """Whether appearance allows that this is the person; it does where it is not known."""
        return self.look is None or seen.look is None or unlike(self.look, seen.look) < ALIKE

    def predict(self, time: float) -> Array:
        """Return where the person should be, float32 [17, 2] px, if they go on as before."""
        times, ways = zip(*self._trail, strict=True)
        if len(times) == 1:
            return self._trail[-1][1]
        steps = np.diff([joints[:7].mean(axis=0) for joints in ways], axis=0)
        velocity = np.median(steps / np.diff(times)[:, None], axis=0)
        gone: Array = ways[-1] + (velocity * min(time - times[-1], HORIZON)).astype(np.float32)
        return gone


def assign(people: Sequence[Person], seen: Sequence[Seen], time: float) -> tuple[list[tuple[Person, Seen]], list[Seen]]:
    """Assign what is seen to people so that the sum of distances is least; returns pairs and what is left.

    Whoever was out of sight for a frame or more is only found again by somebody who looks like them.
    """
    cost = np.full((len(people), len(seen)), _NEVER)
    for row, person in enumerate(people):
        place = person.predict(time)
        reach = min(NEAR + PER_SECOND * (time - person.seen_at), FURTHEST)
        for column, sight in enumerate(seen):
            alike = person.looks_like(sight)
            distance = apart(place, sight.sighting.image)
            if distance < reach and (alike or not person.gone):
                differs = 0.0 if person.look is None or sight.look is None else unlike(person.look, sight.look)
                cost[row, column] = distance + LOOK * differs
    rows, columns = linear_sum_assignment(cost)
    pairs = [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if cost[r, c] < _NEVER]
    taken = {column for _, column in pairs}
    return [(people[r], seen[c]) for r, c in pairs], [s for c, s in enumerate(seen) if c not in taken]


def suppress_duplicates(found: Sequence[Sighting]) -> list[Sighting]:
    """Return the sightings, of several of one person only the clearest."""
    kept: list[Sighting] = []
    for one in sorted(found, key=lambda one: -float(one.confidence.mean())):
        if all(apart(one.image, other.image) >= DOUBLE for other in kept):
            kept.append(one)
    return kept


def covered(one: Sighting, everybody: Sequence[Sighting]) -> bool:
    """Whether another's joints lie within the rectangle of somebody's torso, or nearly."""
    low, high = one.image[TORSO].min(axis=0), one.image[TORSO].max(axis=0)
    room = 0.1 * extent(one.image)
    for other in everybody:
        if other is not one:
            inside = ((other.image > low - room) & (other.image < high + room)).all(axis=1)
            if (inside & (other.confidence >= SEEN)).any():
                return True
    return False
