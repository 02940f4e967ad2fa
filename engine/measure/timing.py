"""Timing of things side by side, which take turns so that whatever else the machine does meets all alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from engine.backends.openvino import has_bfloat16, square_product

SIDE = 1024
"""Rows and columns of the matrices whose product says what the machine can do."""

PRODUCT_GFLOP = 2 * SIDE**3 / 1e9

FEWEST, MOST = 5, 200
"""Turns that everything gets, however slow or fast it is."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call. low, high: the middle 80 % of calls lie between; turns: how many were timed."""

    median: float
    fastest: float
    low: float
    high: float
    turns: int


def time_interleaved(calls: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Call everything in turn for about `seconds` in all, after one turn that does not count.

    Returns the milliseconds of each call by name, in order of time: entry i of all lists belongs to turn i.
    """
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    begin = time.perf_counter()
    for turn in range(MOST):
        if turn >= FEWEST and time.perf_counter() - begin > seconds:
            break
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(1000 * (time.perf_counter() - start))
    return times


def summary(times: list[float]) -> Timing:
    """Return what the timed calls come to."""
    low, high = np.percentile(times, [10, 90])
    return Timing(statistics.median(times), min(times), float(low), float(high), len(times))


def ratio(times: list[float], reference: list[float]) -> float:
    """Return the median over the turns of one call's time to the reference's in the same turn."""
    return statistics.median(one / other for one, other in zip(times, reference, strict=True))


def products() -> dict[str, Callable[[], object]]:
    """Return a large matrix product for each precision that the processor has, `PRODUCT_GFLOP` each.

    Timed in turn with other things, they say what the machine could do at that moment. OpenVINO's are the fastest here.
    """
    calls = {"fp32": square_product(SIDE, "f32")}
    if has_bfloat16():
        calls["bf16"] = square_product(SIDE, "bf16")
    return calls
