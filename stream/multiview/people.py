"""Follows people in the room: who before one camera is who before another, tick by tick, and where their joints are.

Somebody's joints, where they should be by now, are looked for in every camera; what is left over in two cameras and
meets in the room for some ticks is somebody new. The ids that the cameras give are a hint only: where one camera
mistakes two people for each other, the others know better.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from stream.motion.projection import Camera
from stream.motion.skeleton import SEEN, Array, J, Pose
from stream.multiview.triangulation import Places, disagreement, triangulate, triangulate_robustly

MEET = 12.0
"""Two people before two cameras whose joints miss each other by less, cm (median), may be one."""

CONFIRM = 3
"""Ticks in a row for which they have to."""

REACH = 30.0
REACH_PER_SECOND = 120.0
FURTHEST = 100.0
"""Somebody no further, cm (median over joints), from where a person should be is that person: more, up to the third,
for each second since they were seen."""

STAYS = 0.7
"""Weight of a distance to whom the camera itself takes for the same person as at the tick before."""

MEMORY = 2.0
"""Seconds that somebody who is not seen by two cameras keeps their id."""

SAME = 25.0
"""Nobody new stands nearer, cm (median over joints), to somebody who is known: that is a camera's second look."""

VELOCITY = 0.3
"""Share by which a velocity follows what is seen at a tick."""

HORIZON = 0.3
"""Seconds that a person is assumed to go on with it."""

FEWEST_JOINTS = 5
"""Joints that have to be placed for a person to count as seen."""

_NEVER = 1e4  # cost of a pair that must not be: any number of allowed ones costs less

Views = Sequence[Mapping[int, Pose]]
"""The people before each camera at one tick, by the camera's own ids; px."""

_One = tuple[int, int]  # a camera's number and its id of somebody


@dataclass(frozen=True, slots=True)
class Placed:
    """Somebody in the room at a tick. pose: joints in cm, with confidence 0 where not two cameras agree. misses: cm
    [cameras, 17], by how much each camera that is believed missed each joint; NaN for the others."""

    pose: Pose
    misses: Places


class _Person:
    """Somebody in the room. `id` is -1 until they have one."""

    def __init__(self, id: int, joints: Places, time: float, numbers: dict[int, int]) -> None:
        self.id = id
        self.seen_at = time
        self.numbers = numbers
        """Their ids before the cameras, where they were last seen."""
        self._joints = joints
        self._velocity = np.zeros(3)

    def predict(self, time: float) -> Places:
        """Return where the joints should be, cm [17, 3]; NaN for those never seen."""
        return self._joints + self._velocity * min(time - self.seen_at, HORIZON)

    def remember(self, time: float, joints: Places) -> None:
        """Take joints, NaN for those not seen, for the person."""
        known: NDArray[np.bool_] = np.asarray(np.isfinite(joints).all(axis=1))
        before: NDArray[np.bool_] = np.logical_and(known, np.isfinite(self._joints).all(axis=1))
        if before.any() and time > self.seen_at:
            moved = np.median(joints[before] - self._joints[before], axis=0) / (time - self.seen_at)
            self._velocity += VELOCITY * (moved - self._velocity)
        carried = self.predict(time)
        self._joints = np.where(known[:, None], joints, carried)
        self.seen_at = time


class PeopleInTheRoom:
    """Gives the people that two cameras or more see ids, from 0, and places. For one thread."""

    def __init__(self, cameras: Sequence[Camera]) -> None:
        self._cameras = list(cameras)
        self._people: list[_Person] = []
        self._meetings: dict[tuple[_One, _One], int] = {}  # ticks in a row
        self._ids = itertools.count()

    def track(self, views: Views, time: float) -> dict[int, Placed]:
        """Return the people at a tick, seconds, rising, by id."""
        self._people = [person for person in self._people if time - person.seen_at <= MEMORY]
        found, left = self._assign(views, time)
        for members in self._newcomers(views, left):
            places, _ = triangulate_robustly(*self._seen(views, members))
            if all(_apart(places, person.predict(time)) > SAME for person in self._people):
                person = _Person(next(self._ids), places, time, dict(members))
                self._people.append(person)
                found[person.id] = members
        placed = {}
        for person in self._people:
            if (one := self._place(person, views, found.get(person.id, []), time)) is not None:
                placed[person.id] = one
        return placed

    def _assign(self, views: Views, time: float) -> tuple[dict[int, list[_One]], list[_One]]:
        """Look for everybody before every camera; return who was found where, and who is left over."""
        found: dict[int, list[_One]] = {}
        left: list[_One] = []
        for view, people in enumerate(views):
            numbers = list(people)
            cost = np.full((len(self._people), len(numbers)), _NEVER)
            for row, person in enumerate(self._people):
                reach = min(REACH + REACH_PER_SECOND * (time - person.seen_at), FURTHEST)
                place = person.predict(time)
                for column, number in enumerate(numbers):
                    distance = self._distance(view, people[number], place)
                    if distance < reach:
                        cost[row, column] = distance * (STAYS if person.numbers.get(view) == number else 1)
            rows, columns = linear_sum_assignment(cost)
            taken = set()
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
                if cost[row, column] < _NEVER:
                    found.setdefault(self._people[row].id, []).append((view, numbers[column]))
                    taken.add(numbers[column])
            left += [(view, number) for number in numbers if number not in taken]
        return found, left

    def _distance(self, view: int, pose: Pose, places: Places) -> float:
        away = disagreement([self._cameras[view]], pose.joints[None], pose.confidence[None], places)
        return float(np.nanmedian(away)) if np.isfinite(away).sum() >= FEWEST_JOINTS else np.inf

    def _newcomers(self, views: Views, left: Sequence[_One]) -> list[list[_One]]:
        """Return those who met before two cameras for long enough, the nearest pairs first."""
        before, self._meetings = self._meetings, {}
        pairs = []
        for one, other in itertools.combinations(left, 2):
            if one[0] != other[0] and (miss := self._miss(views, one, other)) < MEET:
                self._meetings[one, other] = before.get((one, other), 0) + 1
                pairs.append((miss, one, other))
        groups: list[list[_One]] = []
        for _, one, other in sorted(pairs):
            if self._meetings[one, other] < CONFIRM:
                continue
            near = [group for group in groups if one in group or other in group] or [[]]
            members = sorted({one, other}.union(*near))
            if len({view for view, _ in members}) == len(members):  # nobody is twice before one camera
                groups = [group for group in groups if group not in near] + [members]
        return groups

    def _miss(self, views: Views, one: _One, other: _One) -> float:
        seen = self._seen(views, [one, other])
        away = disagreement(*seen, triangulate(*seen))
        return float(np.nanmedian(away)) if np.isfinite(away).sum() >= 2 * FEWEST_JOINTS else np.inf

    def _seen(self, views: Views, members: Sequence[_One]) -> tuple[list[Camera], Array, Array]:
        poses = [views[view][number] for view, number in members]
        joints, confidence = np.stack([p.joints for p in poses]), np.stack([p.confidence for p in poses])
        return [self._cameras[view] for view, _ in members], joints, confidence

    def _place(self, person: _Person, views: Views, members: Sequence[_One], time: float) -> Placed | None:
        person.numbers |= dict(members)
        if len(members) < 2:
            return None
        cameras, px, seen = self._seen(views, members)
        places, believed = triangulate_robustly(cameras, px, seen)
        if np.isfinite(places).all(axis=1).sum() < FEWEST_JOINTS:
            return None
        person.remember(time, places)
        used = np.maximum((believed >= SEEN).sum(axis=0), 1)
        confidence = np.where(np.isfinite(places).all(axis=1), believed.sum(axis=0) / used, 0.0)
        joints = np.nan_to_num(person.predict(time)) if not np.isfinite(places).all() else places
        pose = Pose(joints.reshape(J, 3).astype(np.float32), confidence.astype(np.float32))
        return Placed(pose, disagreement(cameras, px, believed, places))


def _apart(one: Places, other: Places) -> float:
    distances = np.linalg.norm(one - other, axis=1)
    return float(np.nanmedian(distances)) if np.isfinite(distances).any() else np.inf
