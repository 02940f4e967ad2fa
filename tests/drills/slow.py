"""Readers that are ten times too slow beside readers that are not."""

import json
import signal
import time
from typing import Any

import numpy as np

from .result import Figure, Plan, below, exactly, told
from .rig import Child, killed_at_end, module, wait_for

RATE = 1000.0
"""Packets a second: some 260 people at once."""

MARGIN = 1.10
FLAT = 5.0
"""MiB that a producer may grow by while its slow readers drop."""


def run(plan: Plan) -> list[Figure]:
    """Read with four fast readers; add four that sleep ten packets long after each; take them away again.

    The fast ones must lose nothing. The producer's time for sending a packet, 99th percentile of each second, median
    over the seconds, must stay within 10 % of what it was without the slow ones before and after. Its memory must
    be flat from the moment that they lose packets.
    """
    quiet, busy = (2.0, 4.0) if plan.quick else (15.0, 60.0)
    rate = 200.0 if plan.quick else RATE
    with Child(module("tests.drills.feeder", str(rate))) as feeder, killed_at_end([]) as readers:
        wait_for(lambda: feeder.out, "the sender")
        address = feeder.out[0][1]

        def add(seconds: float) -> Child:
            readers.append(Child(module("tests.drills.taker", address, str(seconds))))
            return readers[-1]

        def seconds_of(length: float) -> list[dict[str, Any]]:
            first = len(feeder.out) + 1  # the second at hand belongs to both
            time.sleep(length)
            wait_for(lambda: len(feeder.out) > first, "a second of the sender")
            return [json.loads(line) for _, line in feeder.out[first:]]

        fast = [add(0.0) for _ in range(4)]
        wait_for(lambda: all(reader.out for reader in fast), "the fast readers")
        before = seconds_of(quiet)
        slow = [add(10 / rate) for _ in range(4)]
        wait_for(lambda: all(reader.out for reader in slow), "the slow readers")
        beside = seconds_of(busy)
        for reader in slow:
            reader.send(signal.SIGTERM)
        for reader in slow:
            reader.end()
        after = seconds_of(quiet)
        feeder.send(signal.SIGTERM)
        codes = [child.end() for child in (feeder, *fast)]
    heard = [json.loads(reader.out[-1][1]) for reader in fast]
    late = [json.loads(reader.out[-1][1])["counters"]["received"] for reader in slow]
    alone, crowded = _median(before + after), _median(beside)
    half = [second["rss"] / 2**20 for second in beside[len(beside) // 2 :]]
    figures = [
        exactly("exit codes of sender and fast readers", [0] * 5, codes),
        exactly("lost by the fast readers", 0, sum(each["counters"]["gaps"] for each in heard)),
        told("packets of each fast reader", str(min(each["counters"]["received"] for each in heard))),
        told("packets of each slow reader meanwhile", f"{max(late)} of {beside[-1]['sent'] - beside[0]['sent']}"),
        told("latency of the fast readers", f"p99 {max(each['p99'] for each in heard):.2f} ms"),
        told("sending a packet", f"p99 {alone:.0f} us without, {crowded:.0f} us with slow readers"),
        below("growth of the sender beside slow readers, second half", FLAT, half[-1] - half[0], "MiB"),
    ]
    if not plan.quick:  # a few seconds say nothing about a percentile
        figures.append(below("the same, ratio", MARGIN, crowded / alone, "times"))
    return figures


def _median(seconds: list[dict[str, Any]]) -> float:
    return float(np.median([second["p99"] for second in seconds]))
