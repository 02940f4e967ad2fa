"""Kill -9: of the producer, and of the logger, again and again at random times."""

import json
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from .result import Figure, Plan, exactly, told
from .rig import (
    Child,
    Key,
    disorder,
    duplicates,
    free_address,
    holes,
    logged,
    producer,
    subscriber,
    wait_for,
)

PEOPLE = "4"


def run(plan: Plan) -> list[Figure]:
    """Kill the producer, then the logger; compare what the logger acknowledged with what is in its log.

    A packet is acknowledged once the logger has printed its line. Some of the kills of the producer come while it
    starts. The time to the first token runs from the start of the process to the line that a reader prints.
    """
    times = 2 if plan.quick else 100
    return _producer_kills(plan.scratch / "producer.db", times) + _logger_kills(plan.scratch / "logger.db", times)


def _producer_kills(log: Path, times: int) -> list[Figure]:
    chance = random.Random(1)
    address = free_address()
    firsts: list[float] = []
    kills = 0
    with Child(subscriber(address, "--log", str(log))) as logger:
        for _ in range(times):
            with Child(producer(address, "--demo", "--max-persons", PEOPLE)) as victim:
                if firsts and chance.random() < 0.2:
                    time.sleep(chance.uniform(0.0, float(np.median(firsts))))
                else:
                    firsts.append(_first(logger, victim) - victim.started)
                    time.sleep(chance.uniform(0.0, 1.0))
                kills += victim.process.poll() is None
        logger.send(signal.SIGTERM)
        code = logger.end()
    acknowledged = logger.packets()
    p50, longest = np.median(firsts), np.max(firsts)
    return [
        exactly("producer killed, times", times, kills),
        exactly("exit code of the logger", 0, code),
        *_compare("producer killed", acknowledged, log),
        exactly("producer killed: gaps within an epoch", 0, holes(acknowledged)),
        told("first token after a restart", f"p50 {p50:.2f} s, max {longest:.2f} s of {len(firsts)}"),
    ]


def _first(logger: Child, victim: Child) -> float:
    """Wait for the first line about a packet captured since a producer was started; return when it came."""
    at = 0

    def there() -> bool:
        nonlocal at
        while at < len(logger.out) and json.loads(logger.out[at][1])["t"] < victim.started * 1e9:
            at += 1
        return at < len(logger.out)

    wait_for(there, "a first token of the new producer", of=victim)
    return logger.out[at][0]


def _logger_kills(log: Path, times: int) -> list[Figure]:
    chance = random.Random(2)
    address = free_address()
    acknowledged: list[Key] = []
    kills = 0
    with Child(producer(address, "--demo", "--max-persons", "16")) as source:
        for _ in range(times):
            with Child(subscriber(address, "--log", str(log))) as victim:
                if chance.random() < 0.9:
                    wait_for(lambda: victim.out, "a first acknowledged packet")
                time.sleep(chance.uniform(0.0, 1.0))
                kills += victim.process.poll() is None
            acknowledged += victim.packets()
        with Child(subscriber(address, "--log", str(log), "--once")) as last:
            wait_for(lambda: last.out, "a first packet of the last logger")
            source.send(signal.SIGTERM)
            source.end()
            with suppress(TimeoutError):
                wait_for(lambda: last.process.poll() is not None, "the end of the last logger", 10)
        acknowledged += last.packets()
    return [
        exactly("logger killed, times", times, kills),
        *_compare("logger killed", acknowledged, log),
        exactly("logger killed: gaps in its log at the end", 0, holes(logged(log))),
    ]


def _compare(what: str, acknowledged: list[Key], log: Path) -> list[Figure]:
    kept = logged(log)
    return [
        told(f"{what}: packets acknowledged", str(len(acknowledged))),
        exactly(f"{what}: acknowledged and lost", 0, len(set(acknowledged) - set(kept))),
        exactly(f"{what}: duplicates in the log", 0, duplicates(kept)),
        exactly(f"{what}: acknowledged twice", 0, duplicates(acknowledged)),
        exactly(f"{what}: out of order in the log", 0, disorder(kept)),
    ]
