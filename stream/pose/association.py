"""Which of the people in an image is whom: by place, by the way they went, and by how they look."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from stream.motion.skeleton import Array
from stream.pose.detection import Sighting, apart
from stream.pose.track import Seen, Track

NEAR = 0.5
"""Somebody no further from where a person should be, in bodies (`apart`), may be that person ..."""

PER_SECOND = 1.0
FURTHEST = 1.2
"""... and so much further for each second since the person was seen, up to this."""

LOOK = 0.01
"""Weight of appearance against place: people whose bodies meet are told apart by it."""

DOUBLE = 0.04
"""Two sightings less far apart are of one person."""

KNOWN = 0.2
"""A seeder's find no further apart (`apart`) from a followed person is that person."""

REUNION = 0.5
"""A find no further apart from where a lost person should be by now is that person, if they look alike."""

CLEAR = 0.5
CLEAR_JOINTS = 6
"""A find counts with so many joints of so much confidence."""

_NEVER = 1e3  # cost of a pair that must not be: any number of allowed ones costs less


def assign(people: Sequence[Track], seen: Sequence[Seen], time: float) -> tuple[list[tuple[Track, Seen]], list[Seen]]:
    """Assign what is seen to people so that the sum of distances is least; returns pairs and what is left.

    Who comes to stand where somebody went away has to look like them.
    """
    cost = np.full((len(people), len(seen)), _NEVER)
    for row, person in enumerate(people):
        place = person.predict(time)
        reach = min(NEAR + PER_SECOND * (time - person.seen_at), FURTHEST)
        for column, sight in enumerate(seen):
            distance = apart(place, sight.sighting.image)
            if distance < reach and (person.looks_like(sight) or not person.gone):
                cost[row, column] = distance + LOOK * person.unlike(sight)
    pairs = _cheapest(cost)
    taken = {column for _, column in pairs}
    return [(people[r], seen[c]) for r, c in pairs], [s for c, s in enumerate(seen) if c not in taken]


def match(
    finds: Sequence[Seen], followed: Sequence[Array], lost: Sequence[Track], time: float
) -> tuple[list[tuple[int, int]], list[int]]:
    """Assign a seeder's finds to people so that the sum of distances is least.

    followed: joints [17, 2] px of those who are followed. Returns pairs (find, lost person) and the finds that are
    newcomers, as indices.
    """
    places = [*followed, *(person.predict(time) for person in lost)]
    cost = np.full((len(finds), len(places)), _NEVER)
    for row, find in enumerate(finds):
        for column, place in enumerate(places):
            distance = apart(find.sighting.image, place)
            person = lost[column - len(followed)] if column >= len(followed) else None
            if distance < (KNOWN if person is None else REUNION) and (person is None or person.looks_like(find)):
                cost[row, column] = distance
    assigned = dict(_cheapest(cost))
    reunions = [(find, person - len(followed)) for find, person in assigned.items() if person >= len(followed)]
    # A second find of a followed person is left over by the assignment, and no newcomer.
    known = np.less(cost[:, : len(followed)], _NEVER, dtype=bool).any(axis=1)
    return reunions, [find for find in range(len(finds)) if find not in assigned and not known[find]]


def worth_following(finds: Sequence[Sighting]) -> list[Sighting]:
    """Return those clear enough, the clearest first, and of several finds of one person the clearest."""
    return _clearest([find for find in finds if (find.confidence >= CLEAR).sum() >= CLEAR_JOINTS], KNOWN)


def suppress_duplicates(found: Sequence[Sighting]) -> list[Sighting]:
    """Return the sightings, of several of one person only the clearest."""
    return _clearest(found, DOUBLE)


def _clearest(found: Sequence[Sighting], double: float) -> list[Sighting]:
    kept: list[Sighting] = []
    for one in sorted(found, key=lambda one: -float(one.confidence.mean())):
        if all(apart(one.image, other.image) >= double for other in kept):
            kept.append(one)
    return kept


def _cheapest(cost: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return the pairs of rows and columns, those that may be, whose costs have the least sum."""
    pairs = zip(*linear_sum_assignment(cost), strict=True)
    return [(int(row), int(column)) for row, column in pairs if cost[row, column] < _NEVER]
