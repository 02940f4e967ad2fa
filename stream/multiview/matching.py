"""Which people of one camera are which of another's: whose joints meet in the room."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from stream.motion.projection import Camera
from stream.motion.skeleton import Pose
from stream.multiview.triangulation import disagreement, triangulate

Track = Mapping[int, Pose]
"""One person before one camera: poses in px by tick."""

Group = dict[int, list[int]]
"""One person before several cameras: their track numbers, one after the other, by the camera's number."""

MEET = 12.0
"""Two tracks whose joints miss each other by less, cm (median), may be of one person."""

FEWEST = 5
"""Ticks at which two tracks have to be seen together to be compared."""


def match_people(cameras: Sequence[Camera], tracks: Sequence[Mapping[int, Track]]) -> list[Group]:
    """Return the people that two cameras or more see. tracks: of each camera, by number.

    The pairs that meet best are joined first; nobody is twice before one camera at a time.
    """
    everybody = [(view, number, track) for view, seen in enumerate(tracks) for number, track in seen.items()]
    pairs = []
    for (i, (a, _, one)), (j, (b, _, other)) in itertools.combinations(enumerate(everybody), 2):
        if a != b and (miss := _miss([cameras[a], cameras[b]], one, other)) < MEET:
            pairs.append((miss, i, j))
    group_of = list(range(len(everybody)))
    for _, i, j in sorted(pairs):
        members = [n for n, group in enumerate(group_of) if group in (group_of[i], group_of[j])]
        if group_of[i] != group_of[j] and _can_be_one([everybody[n] for n in members]):
            joined, left = group_of[i], group_of[j]
            group_of = [joined if group == left else group for group in group_of]
    groups: list[Group] = []
    for group in sorted(set(group_of)):
        person: Group = {}
        for (view, number, _), of in zip(everybody, group_of, strict=True):
            if of == group:
                person.setdefault(view, []).append(number)
        if len(person) > 1:
            groups.append(person)
    return groups


def _can_be_one(members: Sequence[tuple[int, int, Track]]) -> bool:
    pairs = itertools.combinations(members, 2)
    return all(a != b or not one.keys() & other.keys() for (a, _, one), (b, _, other) in pairs)


def _miss(cameras: Sequence[Camera], one: Track, other: Track) -> float:
    common = sorted(one.keys() & other.keys())
    if len(common) < FEWEST:
        return np.inf
    joints = np.stack([np.concatenate([track[tick].joints for tick in common]) for track in (one, other)])
    confidence = np.stack([np.concatenate([track[tick].confidence for tick in common]) for track in (one, other)])
    distances = disagreement(cameras, joints, confidence, triangulate(cameras, joints, confidence))
    seen = distances[np.isfinite(distances)]
    return float(np.median(seen)) if len(seen) else np.inf
