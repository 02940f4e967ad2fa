"""Which finds of a seeder are people already followed, people lost before, or newcomers."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from stream.motion.skeleton import Array
from stream.pose.detection import Sighting, apart

KNOWN = 0.2
"""A find no further apart (`apart`) from a followed person is that person."""

REUNION = 0.5
"""A find no further apart from where a lost person should be by now is that person."""

CLEAR = 0.5
CLEAR_JOINTS = 6
"""A find counts with so many joints of so much confidence."""

_NEVER = 1e3  # cost of a pair that must not be: any number of allowed ones costs less


def worth_following(finds: Sequence[Sighting]) -> list[Sighting]:
    """Return those clear enough, the clearest first, and of several finds of one person the clearest."""
    kept: list[Sighting] = []
    for find in sorted(finds, key=lambda find: -float(find.confidence.mean())):
        clear = (find.confidence >= CLEAR).sum() >= CLEAR_JOINTS
        if clear and all(apart(find.image, other.image) >= KNOWN for other in kept):
            kept.append(find)
    return kept


def match(
    finds: Sequence[Sighting], followed: Sequence[Array], lost: Sequence[Array]
) -> tuple[list[tuple[int, int]], list[int]]:
    """Assign finds to people, joints [17, 2] px each, so that the sum of their distances is least.

    Returns pairs (find, lost person) and the finds that are newcomers, as indices.
    """
    people = [*followed, *lost]
    cost = np.array([[apart(find.image, joints) for joints in people] for find in finds])
    cost = cost.reshape(len(finds), len(people))
    gate = np.array([KNOWN] * len(followed) + [REUNION] * len(lost))
    allowed = np.less(cost, gate, dtype=bool)
    pairs = zip(*linear_sum_assignment(np.where(allowed, cost, _NEVER)), strict=True)
    assigned = {int(find): int(person) for find, person in pairs if allowed[find, person]}
    reunions = [(find, person - len(followed)) for find, person in assigned.items() if person >= len(followed)]
    # A second find of a followed person is left over by the assignment, and no newcomer.
    known = allowed[:, : len(followed)].any(axis=1)
    return reunions, [find for find in range(len(finds)) if find not in assigned and not known[find]]
