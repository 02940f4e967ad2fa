"""The One Euro filter: what rests is steadied, what is fast is followed, what was away begins anew."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.motion.skeleton import Pose
from stream.pose.smoothing import BREAK_S, SmoothedSource, Smoother
from stream.sources.base import PoseFrame

BODY = np.random.default_rng(0).uniform(0, 300, (17, 2)).astype(np.float32)


def poses(ways: NDArray[np.float64], noise: float, seed: int = 1) -> list[Pose]:
    """A body that is moved by `ways` [T], px, and shakes."""
    rng = np.random.default_rng(seed)
    shown = BODY + ways[:, None, None] + rng.normal(0, noise, (len(ways), 17, 2))
    return [Pose(joints.astype(np.float32), np.full(17, 0.9, np.float32)) for joints in shown]


def smoothed(given: list[Pose], fps: float = 30.0) -> NDArray[np.float32]:
    smoother = Smoother()
    return np.stack([smoother.smooth({5: pose}, i / fps)[5].joints for i, pose in enumerate(given)])


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_who_stands_still_shakes_less_however_large(scale: float) -> None:
    given = [Pose(pose.joints * np.float32(scale), pose.confidence) for pose in poses(np.zeros(120), 1.0)]
    before = np.std([pose.joints for pose in given[20:]], axis=0).mean()
    assert np.std(smoothed(given)[20:], axis=0).mean() < 0.5 * before


def test_who_is_fast_is_followed() -> None:
    way = 600 * np.arange(60) / 30  # two body heights a second
    lag = (poses(way, 0.0)[-1].joints - smoothed(poses(way, 0.0))[-1])[:, 0] / 600
    assert 0 <= lag.max() < 0.012  # s


def test_it_looks_only_back() -> None:
    given = poses(np.cumsum(np.random.default_rng(3).normal(0, 5, 60)), 1.0)
    assert np.array_equal(smoothed(given)[:40], smoothed(given[:40]))


def test_people_and_joints_that_were_away_begin_anew() -> None:
    smoother = Smoother()
    here, there = poses(np.zeros(1), 0.0)[0], poses(np.full(1, 500.0), 0.0)[0]
    smoother.smooth({0: here}, 0.0)
    assert np.array_equal(smoother.smooth({0: there}, 2 * BREAK_S)[0].joints, there.joints)
    hidden = Pose(there.joints, np.where(np.arange(17) == 9, 0.1, 0.9).astype(np.float32))
    for i in range(1, 20):
        time = 2 * BREAK_S + i / 30
        assert np.array_equal(smoother.smooth({0: hidden}, time)[0].joints[9], there.joints[9])
    again = smoother.smooth({0: here}, time + 1 / 30)[0]
    assert np.array_equal(again.joints[9], here.joints[9])
    assert not np.allclose(again.joints[5], here.joints[5], atol=1.0)


def test_a_source_is_the_same_but_for_its_joints() -> None:
    class Source:
        unit, live, label, counts = "px", False, "video x", {"frames damaged": 1}
        closed = 0

        def __iter__(self) -> Iterator[PoseFrame]:
            yield from (PoseFrame({0: pose}, i / 30, i) for i, pose in enumerate(poses(np.zeros(9), 1.0)))

        def close(self) -> None:
            self.closed += 1

    inner = Source()
    source = SmoothedSource(inner)  # type: ignore[arg-type]
    frames = list(source)
    assert (source.unit, source.live, source.label, source.counts) == ("px", False, "video x, smoothed", inner.counts)
    assert [frame.captured_ns for frame in frames] == list(range(9))
    source.close()
    assert inner.closed == 1
