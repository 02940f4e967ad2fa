"""A reader that needs so long for a packet, as a process: `python -m tests.drills.taker ADDRESS SECONDS`.

Ends with the goodbye or by SIGTERM and prints, as JSON, its counters, the tracks and numbers heard and its latencies.
"""

import json
import signal
import sys
import threading
import time
from dataclasses import asdict

import numpy as np

from stream.client import TokenStream
from stream.wire.packets import Packet


def main() -> None:
    """Read until the end."""
    address, seconds = sys.argv[1], float(sys.argv[2])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    latencies: list[float] = []
    with TokenStream(address) as stream:
        while not stop.is_set() and not stream.ended:
            heard = stream.poll(0.1)
            if heard is None or not isinstance(heard.message, Packet):
                continue
            if not latencies:
                print("reading", flush=True)
            latencies.append(heard.latency_ms or 0.0)
            if seconds:
                time.sleep(seconds)
        p99 = float(np.percentile(latencies, 99)) if latencies else 0.0
        print(json.dumps({"counters": asdict(stream.total), "p99": p99}), flush=True)


if __name__ == "__main__":
    main()
