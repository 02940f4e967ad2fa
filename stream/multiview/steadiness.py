"""How much poses shake and how far they lag behind the same people as another estimator sees them."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stream.motion.clock import FPS
from stream.motion.skeleton import SEEN, Pose

BODY_MM = 1500.0
"""Distances are told as of a body that is so tall, from eyes to ankles."""

LATEST_S = 0.2
EARLIEST_S = -0.1
"""Range of lags, s, that are tried, in steps of 5 ms."""

FAST = 1.0
"""Only joints faster than so many body heights a second tell a lag."""

SAME = 0.15
"""Two tracks less far apart, in body heights (median), are of one person."""

Tracks = Sequence[Mapping[int, Mapping[int, Pose]]]
"""Of each camera: poses in px by id and tick."""

_Table = NDArray[np.float64]  # [ticks, 17, 2]: body heights; NaN where a joint is not seen


def shake_mm(tracks: Tracks) -> float:
    """Return the median, over joints and ticks, of how far a joint lies from the middle of its neighbours in time."""
    tables = [_table(track, height) for view in tracks for track in view.values() if (height := _height(track)) > 0]
    bends = [table[1:-1] - (table[:-2] + table[2:]) / 2 for table in tables if len(table) > 2]
    found = np.concatenate([np.linalg.norm(bend, axis=-1).ravel() for bend in bends]) if bends else np.empty(0)
    found = found[np.isfinite(found)]
    return float(np.median(found) * BODY_MM) if len(found) else np.nan


def lag_ms(tracks: Tracks, reference: Tracks) -> float:
    """Return by how much fast joints lie behind where the reference saw them, ms; NaN where nothing fast is in both."""
    shifts = np.arange(EARLIEST_S, LATEST_S + 0.001, 0.005)
    sums, count = np.zeros(len(shifts)), 0
    for view, other in zip(tracks, reference, strict=True):
        for track in view.values():
            for known in other.values():
                if (height := _height(known)) <= 0:
                    continue
                ticks = range(min(*track, *known), max(*track, *known) + 1)
                one, two = _table(track, height, ticks), _table(known, height, ticks)
                away = np.linalg.norm(one - two, axis=-1)
                if not np.isfinite(away).any() or np.nanmedian(away) > SAME:
                    continue
                errors = np.stack([_squared(one, _shifted(two, shift * FPS)) for shift in shifts])
                speed = np.linalg.norm(np.gradient(two, axis=0), axis=-1) * FPS
                usable = np.isfinite(errors).all(axis=0) & (speed > FAST)
                sums += errors[:, usable].sum(axis=1)
                count += int(usable.sum())
    return float(shifts[int(sums.argmin())] * 1000) if count else np.nan


def _height(track: Mapping[int, Pose]) -> float:
    return float(np.median([np.ptp(pose.joints[:, 1]) for pose in track.values()]))


def _table(track: Mapping[int, Pose], height: float, ticks: range | None = None) -> _Table:
    ticks = ticks if ticks is not None else range(min(track), max(track) + 1)
    table = np.full((len(ticks), 17, 2), np.nan)
    for row, tick in enumerate(ticks):
        if (pose := track.get(tick)) is not None:
            table[row] = np.where(pose.confidence[:, None] >= SEEN, pose.joints / height, np.nan)
    return table


def _shifted(table: _Table, ticks: float) -> _Table:
    """Return where joints were so many ticks before, between ticks on a line."""
    whole = int(np.floor(ticks))
    share = ticks - whole
    return (1 - share) * _rolled(table, whole) + share * _rolled(table, whole + 1)


def _rolled(table: _Table, ticks: int) -> _Table:
    moved = np.roll(table, ticks, axis=0)
    if ticks > 0:
        moved[:ticks] = np.nan
    elif ticks < 0:
        moved[ticks:] = np.nan
    return moved


def _squared(one: _Table, two: _Table) -> _Table:
    squared: _Table = ((one - two) ** 2).sum(axis=-1)
    return squared
