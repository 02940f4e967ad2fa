"""The wall clock is set ahead and back by an hour while people move."""

import itertools
import json
import signal
import time
from collections import defaultdict
from typing import Any

import numpy as np

from stream.log.reader import LogReader

from .result import Figure, Plan, at_least, exactly, told
from .rig import Child, free_address, module, producer, subscriber, wait_for

STEPS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR2)
"""An hour ahead, back again, an hour behind."""

FULL = 0xFF


def run(plan: Plan) -> list[Figure]:
    """Set the wall clock of a producer and its logger by an hour, three times, while packets flow.

    The clock is a double in both processes; everything else is real. Numbers, the frames of every window, the order
    of the log and the latency must be as if nothing had been. A packet under way at the very moment has no latency:
    its two clocks differ.
    """
    seconds = 1.0 if plan.quick else 10.0
    address = free_address()
    log = plan.scratch / "tokens.db"
    reader = _stepped(subscriber(address, "--log", str(log)))
    source = _stepped(producer(address, "--demo", "--max-persons", "4"))
    with Child(reader) as logger, Child(source) as sender:
        wait_for(lambda: len(logger.out) > 8, "packets before the first step")
        time.sleep(seconds)
        steps = []
        for number in STEPS:
            steps.append(time.monotonic())
            for child in (sender, logger):
                child.send(number)
            seen = len(logger.out)
            time.sleep(seconds)
            wait_for(lambda: len(logger.out) > seen + 4, "packets after the step")  # noqa: B023
        sender.send(signal.SIGTERM)
        code = sender.end()
        wait_for(lambda: "goodbye" in logger.said, "the goodbye")
        logger.send(signal.SIGTERM)
        logger_code = logger.end()
    packets = [json.loads(line) for _, line in logger.out]
    with LogReader(log) as kept:
        in_log = [(entry.packet.track, entry.packet.seq) for entry in kept.packets()]
    return [
        at_least("steps of an hour", len(STEPS), len(steps)),
        exactly("exit codes", [0, 0], [code, logger_code]),
        exactly("numbers missing or out of order", 0, _disorder([(p["track"], p["seq"]) for p in packets])),
        exactly("the same in the log, read by time", 0, _disorder(in_log)),
        exactly("packets in the log", len(packets), len(in_log)),
        exactly("windows cut, held or reset", 0, _windows(packets)),
        *_latency(packets, len(STEPS)),
    ]


def _stepped(command: list[str]) -> list[str]:
    _, _, name, *flags = command
    return module("tests.drills.stepped", name, *flags)


def _disorder(numbers: list[tuple[int, int]]) -> int:
    tracks: dict[int, list[int]] = defaultdict(list)
    for track, seq in numbers:
        tracks[track].append(seq)
    return sum(b != a + 1 for seqs in tracks.values() for a, b in itertools.pairwise(seqs))


def _windows(packets: list[dict[str, Any]]) -> int:
    """Count hops that do not follow the one before frame by frame; the last ones are cut by the end of the run."""
    wrong = 0
    for track in {p["track"] for p in packets}:
        mine = [p for p in packets if p["track"] == track]
        for before, after in itertools.pairwise(mine[:-1]):
            follows = after["frame"] == before["frame"] + before["hop"]
            wrong += not follows or after["reset"] or after["observed"] != FULL
    return wrong


def _latency(packets: list[dict[str, Any]], steps: int) -> list[Figure]:
    known = [p["latency_ms"] for p in packets if p["latency_ms"] is not None]
    p50, p99 = np.percentile(known, [50, 99])
    under_way = len(packets) - len(known)
    return [
        exactly("latencies off by more than a second", 0, sum(abs(each) > 1000 for each in known)),
        Figure(
            "packets without latency, at most one of each person a step",
            f"{4 * steps} or less",
            str(under_way),
            under_way <= 4 * steps,
        ),
        told("latency", f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"),
    ]
