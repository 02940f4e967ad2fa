"""How much poses shake and lag, on motion of which both are known."""

import numpy as np
import pytest

from stream.motion.skeleton import Pose
from stream.multiview.steadiness import BODY_MM, lag_ms, shake_mm

BODY = np.random.default_rng(0).uniform(0, 300, (17, 2))


def track(late: float = 0.0, noise: float = 0.0) -> dict[int, dict[int, Pose]]:
    """Somebody who swings to and fro once a second, seen `late` s after it."""
    rng = np.random.default_rng(1)
    shown = {}
    for tick in range(60):
        way = np.array((60 * np.sin(2 * np.pi * (tick / 30 - late)), 0))
        joints = BODY + way + rng.normal(0, noise, (17, 2))
        shown[tick] = Pose(joints.astype(np.float32), np.full(17, 0.9, np.float32))
    return {3: shown}


@pytest.mark.parametrize("late", [-0.05, 0.0, 0.02, 0.1])
def test_a_lag_is_found(late: float) -> None:
    assert lag_ms([track(late, 1.0)], [track(0.0, 1.0)]) == pytest.approx(1000 * late, abs=6)


def test_nobody_in_common_has_no_lag() -> None:
    away = {3: {tick: Pose(pose.joints + 2000, pose.confidence) for tick, pose in track()[3].items()}}
    assert np.isnan(lag_ms([away], [track()]))
    assert np.isnan(shake_mm([{}]))


def test_a_shake_is_found() -> None:
    still = {
        3: {tick: Pose(BODY.astype(np.float32) + np.float32(tick % 2), np.ones(17, np.float32)) for tick in range(9)}
    }
    height = float(np.ptp(BODY[:, 1]))
    assert shake_mm([still]) == pytest.approx(2**0.5 / height * BODY_MM, rel=1e-3)
