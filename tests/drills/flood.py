"""Floods of every kind against a sender that readers listen to, and listed readers that ask much and are killed."""

import json
import signal
import statistics
import threading
import time
from typing import Self

from curve_samples import Folders
from stream.client import TokenStream
from stream.subscribe.control_client import control_address
from stream.wire.packets import Packet, Status

from .flooder import FLOODS
from .result import Figure, Plan, below, exactly, told
from .rig import Child, free_address, module, producer, wait_for

RATE = 200.0
"""Packets a second of the sender."""

ROUNDS = 5
"""Times that it is measured without and beside a flood, in turn: whatever else the machine does meets both alike."""

MARGIN = 1.10
GROWTH = 32.0
"""MiB that the sender may grow by under a flood."""

STOP = 2.0
"""Seconds within which a flooded sender ends when it is asked to."""


class _Reader:
    """Reads in a thread of its own and keeps the latency of each packet, in ms."""

    def __init__(self, address: str) -> None:
        self.latencies: list[float] = []
        self.control = ""
        self._address = address
        self._stream = TokenStream(address)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def median(self, seconds: float) -> float:
        """Return the median latency of the next so many seconds."""
        begin = len(self.latencies)
        time.sleep(seconds)
        return statistics.median(self.latencies[begin:] or [float("inf")])

    @property
    def gaps(self) -> int:
        """How many packets were lost."""
        return self._stream.total.gaps

    def _read(self) -> None:
        while not self._stop.is_set():
            heard = self._stream.poll(0.1)
            if heard and isinstance(heard.message, Status):
                self.control = control_address(self._address, heard.message.control) or ""
            elif heard and isinstance(heard.message, Packet):
                self.latencies.append(heard.latency_ms or 0.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._stream.close()


def run(plan: Plan) -> list[Figure]:
    """Flood a sender in every way, beside a reader whose latency must stay; ask it to end under the flood. Then kill
    listed readers while they ask."""
    kinds = ["subscriptions", "requests"] if plan.quick else list(FLOODS)
    figures = [figure for kind in kinds for figure in _flooded(kind, 1.0 if plan.quick else 15.0)]
    return figures + _killed(plan, 5 if plan.quick else 50)


def _flooded(kind: str, seconds: float) -> list[Figure]:
    with Child(module("tests.drills.feeder", str(RATE))) as feeder:
        wait_for(lambda: len(feeder.out) > 1, "the sender", of=feeder)
        with _Reader(feeder.out[0][1]) as reader:
            wait_for(lambda: reader.latencies and reader.control, "the reader")
            flooded = reader.control if FLOODS[kind][0] == "DEALER" else feeder.out[0][1]
            before = _rss(feeder)
            pairs = []
            for _ in range(ROUNDS):
                quiet = reader.median(seconds / ROUNDS)
                with Child(module("tests.drills.flooder", flooded, kind)):
                    pairs.append((quiet, reader.median(seconds / ROUNDS)))
            growth = _rss(feeder) - before
            with Child(module("tests.drills.flooder", flooded, kind)):
                begin = time.monotonic()
                feeder.send(signal.SIGTERM)
                code = feeder.end()
                took = time.monotonic() - begin
            gaps = reader.gaps
    return [
        below(f"{kind}: latency beside the flood", MARGIN, statistics.median(b / a for a, b in pairs), "times"),
        told(
            f"{kind}: median latency, least of {ROUNDS} rounds",
            f"{min(a for a, _ in pairs):.2f} ms, {min(b for _, b in pairs):.2f} ms beside the flood",
        ),
        exactly(f"{kind}: packets lost by the reader", 0, gaps),
        below(f"{kind}: growth of the sender", GROWTH, growth, "MiB"),
        exactly(f"{kind}: exit code of the sender", 0, code),
        below(f"{kind}: its end when asked to", STOP, took, "s"),
    ]


def _rss(feeder: Child) -> float:
    """Return the sender's memory in MiB, as it says it next."""
    have = len(feeder.out)
    wait_for(lambda: len(feeder.out) > have, "a second of the sender", of=feeder)
    return float(json.loads(feeder.out[-1][1])["rss"]) / 2**20


def _killed(plan: Plan, times: int) -> list[Figure]:
    folders = Folders(plan.scratch / "keys")
    address = free_address()
    host, _, port = address.rpartition(":")
    control = f"{host}:{int(port) + 1}"
    with Child(producer(address, "--demo", "--max-persons", "1", "--keys", str(folders.producer.folder))) as child:
        wait_for(lambda: "-> stream" in child.said, "the producer", of=child)
        for _ in range(times):
            with Child(module("tests.drills.asker", control, str(folders.listed.folder))) as asker:
                wait_for(lambda asker=asker: asker.out, "the reader", of=asker)  # type: ignore[misc]
        lives = child.process.poll() is None
        child.send(signal.SIGTERM)
        code = child.end()
    return [
        exactly(f"listed readers killed while they ask, {times}: the producer lives", True, lives),
        exactly("its exit code afterwards", 0, code),
    ]
