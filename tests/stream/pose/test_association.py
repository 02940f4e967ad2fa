"""Finds and people: the least sum of distances, who is known already, and whose looks forbid it."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.motion.skeleton import Array
from stream.pose.association import KNOWN, RECOVERY, clear_detections, match
from stream.pose.detection import pose_distance
from stream.pose.track import DOUBT, Seen, Track
from vision_fakes import body, detection


def seen(joints: Array, look: float | None = None) -> Seen:
    """Somebody of one colour, or of none that is known."""
    return Seen(detection(joints), None if look is None else np.full((3, 16), look, np.float32), covered=False)


def lost_at(joints: Array, look: float | None = None) -> Track:
    return Track(0.0, seen(joints, look))


@given(st.lists(st.floats(0, 400), max_size=4), st.lists(st.floats(0, 400), max_size=4))
def test_the_sum_of_distances_is_least(places: list[float], people: list[float]) -> None:
    detections = [seen(body((x, 0))) for x in places]
    lost = [body((x, 0)) for x in people]
    recovered, newcomers = match(detections, [], list(map(lost_at, lost)), 0.0)
    assert sorted([row for row, _ in recovered] + newcomers) == list(range(len(detections)))

    def cost(pairs: list[tuple[int, int]]) -> tuple[int, float]:
        distances = [pose_distance(detections[row].detection.image, lost[person]) for row, person in pairs]
        return -len(pairs), sum(distances)

    every = itertools.chain.from_iterable(
        [list(zip(some, order, strict=True))]
        for count in range(min(len(detections), len(lost)) + 1)
        for some in itertools.combinations(range(len(detections)), count)
        for order in itertools.permutations(range(len(lost)), count)
    )
    allowed = [
        pairs
        for pairs in every
        if all(pose_distance(detections[row].detection.image, lost[person]) < RECOVERY for row, person in pairs)
    ]
    best = min(cost(pairs) for pairs in allowed)
    assert cost(recovered)[0] == best[0]
    assert cost(recovered)[1] == pytest.approx(best[1])


def test_followed_people_go_before_lost_ones() -> None:
    detections = [seen(body((100, 0))), seen(body((180, 0)))]
    recovered, newcomers = match(detections, [body((110, 0))], [lost_at(body((120, 0)))], 0.0)
    assert recovered == [(1, 0)]
    assert newcomers == []


def test_a_second_find_of_a_followed_person_is_no_newcomer() -> None:
    aside = KNOWN * 290 * 0.8
    detections = [seen(body((300 + aside, 0))), seen(body((300 - aside, 0))), seen(body((600, 0)))]
    assert match(detections, [body((300, 0))], [], 0.0) == ([], [2])


def test_only_the_clear_ones_once_each() -> None:
    near = KNOWN * 290 * 0.9
    detections = [
        detection(body((100, 0)), 0.6),
        detection(body((100 + near, 0)), 0.8),
        detection(body((900, 0)), 0.4),
        detection(body((500, 0)), 0.7),
    ]
    assert [one.confidence[0] for one in clear_detections(detections)] == [np.float32(0.8), np.float32(0.7)]


def test_goes_on_as_before_and_shrugs_off_one_leap() -> None:
    track = Track(0.0, seen(body((100, 50))))
    for frame in range(1, 7):
        track.remember(frame / 10, seen(body((100 + 10 * frame, 50))))
    np.testing.assert_allclose(track.predict(0.8)[0], (180, 50), atol=1e-3)
    np.testing.assert_allclose(track.predict(9.0)[0], (210, 50), atol=1e-3)  # half a second on, no further
    track.remember(0.7, seen(body((400, 50))))
    np.testing.assert_allclose(track.predict(0.8)[0], (410, 50), atol=1e-3)


def test_who_looks_like_somebody_else_is_a_newcomer() -> None:
    lost = [lost_at(body((100, 0)), 20.0), lost_at(body((300, 0)), 60.0)]
    assert match([seen(body((110, 0)), 60.0)], [], lost[:1], 0.0) == ([], [0])
    assert match([seen(body((110, 0)), 22.0)], [], lost[:1], 0.0) == ([(0, 0)], [])
    assert match([seen(body((110, 0)))], [], lost[:1], 0.0) == ([(0, 0)], [])
    # Of two who were lost, looks say who is back.
    assert match([seen(body((190, 0)), 60.0)], [], lost, 0.0) == ([(0, 1)], [])


def test_one_doubt_is_a_hand_before_the_chest() -> None:
    track = lost_at(body((100, 0)), 20.0)
    assert [track.doubt() for _ in range(DOUBT - 1)] == [False] * (DOUBT - 1)
    track.remember(0.1, seen(body((100, 0)), 20.0))
    assert [track.doubt() for _ in range(DOUBT)] == [False] * (DOUBT - 1) + [True]
    assert track.gone
