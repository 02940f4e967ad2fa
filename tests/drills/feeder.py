"""A sender of many packets, as a process: `python -m tests.drills.feeder RATE`.

Publishes made-up packets of four people at RATE a second, and hands them out again to who asks. Prints its address,
then one JSON line a second: how long `publish` took, in microseconds, and how much memory the process holds. SIGTERM
ends it with a goodbye.
"""

import json
import signal
import sys
import threading
import time

import numpy as np
import psutil

from stream.publish.control import ControlServer
from stream.publish.publisher import Publisher
from wire_samples import hop_of

HISTORY = 5.0
"""Seconds that its packets can be had again: short, so that its memory is full before it is measured."""


def main() -> None:
    """Publish until stopped."""
    rate = float(sys.argv[1])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    process = psutil.Process()
    with (
        Publisher("tcp://127.0.0.1:*", "feeder", history=HISTORY) as publisher,
        ControlServer(publisher.history, beside=publisher.address) as control,
    ):
        publisher.control = control.told
        print(publisher.address, flush=True)
        begin = said = time.monotonic()
        took: list[float] = []
        sent = 0
        while not stop.is_set():
            due = begin + sent / rate
            if (left := due - time.monotonic()) > 0:
                time.sleep(left)
            now, wall = time.monotonic_ns(), time.time_ns()
            publisher.publish(**hop_of(track=sent % 4, frame=8 * sent, t=now, wall=wall))
            took.append((time.monotonic_ns() - now) / 1e3)
            publisher.status(4, {})
            sent += 1
            if time.monotonic() - said >= 1.0:
                p50, p99 = np.percentile(took, [50, 99])
                rss = process.memory_info().rss
                print(json.dumps({"p50": p50, "p99": p99, "rss": rss, "sent": sent}), flush=True)
                said, took = time.monotonic(), []
        publisher.goodbye("enough")


if __name__ == "__main__":
    main()
