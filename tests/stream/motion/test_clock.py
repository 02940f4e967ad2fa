"""The clock: every tick once, in order, nearest frame, gaps filled or jumped, nothing ahead."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.motion.clock import FPS, MAX_HOLD, Clock, Tick
from stream.motion.skeleton import J, Pose


def pose(x: float) -> Pose:
    return Pose(np.full((J, 2), x, np.float32), np.ones(J, np.float32))


def ticks_of(times: list[float]) -> list[Tick]:
    clock = Clock(30.0)
    return [tick for n, t in enumerate(times) for tick in clock.advance({0: pose(t)}, t, n)]


@given(st.lists(st.floats(0.001, 0.2), min_size=1, max_size=60))
def test_ticks_rise_by_one_except_over_long_gaps(steps: list[float]) -> None:
    ticks = ticks_of(np.cumsum(steps).tolist())
    assert ticks[0].index == 0
    for before, after in itertools.pairwise(ticks):
        jump = after.index - before.index
        assert jump == 1 or jump > MAX_HOLD + 1
        assert after.captured_ns >= before.captured_ns


@given(st.lists(st.floats(0.001, 0.2), min_size=2, max_size=40), st.integers(1, 39))
def test_later_frames_never_change_earlier_ticks(steps: list[float], cut: int) -> None:
    times = np.cumsum(steps).tolist()
    whole, part = ticks_of(times), ticks_of(times[:cut])
    for a, b in zip(part, whole, strict=False):
        assert (a.index, a.seen, a.captured_ns) == (b.index, b.seen, b.captured_ns)
        np.testing.assert_array_equal(a.people[0].joints, b.people[0].joints)


@given(st.lists(st.floats(0.01, 0.09), min_size=2, max_size=60))
def test_a_filled_tick_lies_on_the_line_between_its_frames(steps: list[float]) -> None:
    ticks = ticks_of(np.cumsum(steps).tolist())
    for before, now, after in zip(ticks, ticks[1:], ticks[2:], strict=False):
        if not now.seen and before.seen and after.seen:
            middle = (before.people[0].joints + after.people[0].joints) / 2
            np.testing.assert_allclose(now.people[0].joints, middle, atol=1e-5)


@pytest.mark.parametrize("rate", [29.97, 30.0, 30.1])
def test_a_rate_near_the_clock_is_followed_frame_by_frame(rate: float) -> None:
    ticks = ticks_of([n / rate for n in range(3000)])
    assert [tick.index for tick in ticks] == list(range(3000))
    assert all(tick.seen for tick in ticks)


def test_jitter_of_a_live_camera_is_followed_frame_by_frame() -> None:
    late = np.random.default_rng(0).uniform(-0.01, 0.01, 2000)
    late[0] = 0.012  # the worst start: all later frames seem early
    ticks = ticks_of([n / 30 + float(late[n]) for n in range(2000)])
    assert sum(not tick.seen for tick in ticks) <= 4
    assert all(tick.seen for tick in ticks[30:])


def test_another_rate_is_resampled() -> None:
    slow = ticks_of([n / 28 for n in range(280)])
    assert abs(len(slow) - 300) <= 2
    assert abs(sum(not tick.seen for tick in slow) - 20) <= 2
    clock = Clock(30.0)
    fast = [tick for n in range(600) for tick in clock.advance({}, n / 60, n)]
    assert abs(len(fast) - 300) <= 2
    assert clock.surplus == 600 - len(fast)


def test_a_person_absent_from_one_side_of_a_gap_is_not_invented() -> None:
    clock = Clock(30.0)
    clock.advance({0: pose(0), 1: pose(5)}, 0.0, 0)
    filled, now = clock.advance({0: pose(2), 2: pose(7)}, 2 / 30, 1)
    assert filled.people.keys() == {0}
    assert now.people.keys() == {0, 2}
    np.testing.assert_allclose(filled.people[0].joints, 1)


@pytest.mark.parametrize("rate", [40, 45, 50, 59.94, 60, 90, 120, 240])
@pytest.mark.parametrize("jitter", [0.0, 0.1])
def test_of_a_faster_source_the_frames_nearest_to_the_ticks_are_taken(rate: float, jitter: float) -> None:
    """And the clock keeps its own time: it must not be pushed by whichever frame comes first."""
    rng = np.random.default_rng(0)
    times = (np.arange(round(20 * rate)) + rng.uniform(-jitter, jitter, round(20 * rate))) / rate
    clock = Clock()
    taken = [(tick.index, time) for time in times for tick in clock.advance({}, time, 0) if tick.seen]
    index, at = np.array(taken[30:]).T
    assert (np.diff(index) == 1).mean() > 0.99
    off = (at - at.mean()) * FPS - (index - index.mean())  # ticks
    # Half a step of the source, its jitter, and 0.2 of a tick by which the clock follows the source.
    assert np.abs(off).max() < (0.5 + jitter) * FPS / rate + 0.2
    assert (index[-1] - index[0]) / (at[-1] - at[0]) == pytest.approx(FPS, rel=2e-3)


@pytest.mark.parametrize("rate", [2.0, 3.0, 4.0, 5.0, 7.5, 10.0])
def test_between_the_frames_of_a_slow_source_people_move_evenly(rate: float) -> None:
    ticks = ticks_of([n / rate + 0.01 * (n % 2) for n in range(20)])
    steady = [tick for tick in ticks if tick.index > 2.5 * FPS / rate]  # two intervals tell that it is slow
    assert [tick.index for tick in steady] == list(range(steady[0].index, steady[-1].index + 1))
    assert sum(tick.seen for tick in steady) == pytest.approx(len(steady) * rate / FPS, abs=2)
    moved = np.diff([tick.people[0].joints[0, 0] for tick in steady])
    np.testing.assert_allclose(moved, 1 / FPS, rtol=0.3)


def test_a_pause_of_a_usual_source_and_frames_too_rare_are_not_filled() -> None:
    usual = ticks_of([n / 30 for n in range(60)] + [2.5 + n / 30 for n in range(60)])
    assert all(tick.seen for tick in usual)
    rare = ticks_of([float(n) for n in range(20)])
    assert [tick.index for tick in rare] == [30 * n for n in range(20)]


@pytest.mark.parametrize(("rate", "told"), [(30.0, None), (10.0, None), (2.0, None), (1.0, 1.0), (0.2, 0.2)])
def test_a_source_that_is_too_slow_is_known_after_some_frames(rate: float, told: float | None) -> None:
    clock = Clock()
    for n in range(12):
        clock.advance({}, n / rate, n)
        assert clock.too_slow is None or n >= 5
    assert clock.too_slow == (told if told is None else pytest.approx(told))
    clock.advance({}, 11 / rate + 100, 12)  # a pause
    assert (clock.too_slow is None) == (told is None)
