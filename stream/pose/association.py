"""Which of the people in an image is whom: by place, by the way they went, and by how they look."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from stream.motion.skeleton import Array
from stream.pose.detection import Detection, pose_distance
from stream.pose.track import Seen, Track

NEAR = 0.5
"""Somebody no further from where a person should be, in bodies (`pose_distance`), may be that person ..."""

PER_SECOND = 1.0
FURTHEST = 1.2
"""... and so much further for each second since the person was seen, up to this."""

LOOK = 0.01
"""Weight of appearance against place: people whose bodies meet are told apart by it."""

DOUBLE = 0.04
"""Two detections less far apart are of one person."""

KNOWN = 0.2
"""A seeder's detection no further apart (`pose_distance`) from a followed person is that person."""

RECOVERY = 0.5
"""A detection no further apart from where a lost person should be by now is that person, if they look alike."""

CLEAR = 0.5
CLEAR_JOINTS = 6
"""A detection counts with this many joints of this confidence."""

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
            distance = pose_distance(place, sight.detection.image)
            if distance < reach and (person.looks_like(sight) or not person.gone):
                cost[row, column] = distance + LOOK * person.unlike(sight)
    pairs = _cheapest(cost)
    taken = {column for _, column in pairs}
    return [(people[r], seen[c]) for r, c in pairs], [s for c, s in enumerate(seen) if c not in taken]


def match(
    detections: Sequence[Seen], followed: Sequence[Array], lost: Sequence[Track], time: float
) -> tuple[list[tuple[int, int]], list[int]]:
    """Assign a seeder's detections to people so that the sum of distances is least.

    followed: joints [17, 2] px of those who are followed. Returns pairs (detection, lost person) and the detections
    that are newcomers, as indices.
    """
    places = [*followed, *(person.predict(time) for person in lost)]
    cost = np.full((len(detections), len(places)), _NEVER)
    for row, seen in enumerate(detections):
        for column, place in enumerate(places):
            distance = pose_distance(seen.detection.image, place)
            person = lost[column - len(followed)] if column >= len(followed) else None
            if distance < (KNOWN if person is None else RECOVERY) and (person is None or person.looks_like(seen)):
                cost[row, column] = distance
    assigned = dict(_cheapest(cost))
    recovered = [(row, person - len(followed)) for row, person in assigned.items() if person >= len(followed)]
    # A second detection of a followed person is left over by the assignment, and not a newcomer.
    known = np.less(cost[:, : len(followed)], _NEVER, dtype=bool).any(axis=1)
    return recovered, [row for row in range(len(detections)) if row not in assigned and not known[row]]


def clear_detections(detections: Sequence[Detection]) -> list[Detection]:
    """Return those clear enough, the clearest first, and of several of one person the clearest."""
    return _clearest([one for one in detections if (one.confidence >= CLEAR).sum() >= CLEAR_JOINTS], KNOWN)


def suppress_duplicates(found: Sequence[Detection]) -> list[Detection]:
    """Return the detections, of several of one person only the clearest."""
    return _clearest(found, DOUBLE)


def _clearest(found: Sequence[Detection], double: float) -> list[Detection]:
    kept: list[Detection] = []
    for one in sorted(found, key=lambda one: -float(one.confidence.mean())):
        if all(pose_distance(one.image, other.image) >= double for other in kept):
            kept.append(one)
    return kept


def _cheapest(cost: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return the pairs of rows and columns, those that may be, whose costs have the least sum."""
    pairs = zip(*linear_sum_assignment(cost), strict=True)
    return [(int(row), int(column)) for row, column in pairs if cost[row, column] < _NEVER]
