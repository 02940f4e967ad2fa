"""Numbers of one stream over its last seconds: rates, latency, vocabulary in use."""

import time
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.wire.packets import Packet

RATE_S = 5.0
"""Seconds that rates are taken over."""

LATENCIES = 512
"""Packets that latency is taken over, the newest ones."""

VOCABULARY_HOPS = 1024
"""Hops in which ids count as in use, the newest ones."""


class Rates:
    """Counts what came of one stream. For use from one thread."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._came: deque[tuple[float, int, int, int]] = deque()  # when, bytes, tokens, bits
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._hops: deque[NDArray[np.uint16]] = deque()
        self._used = np.zeros(0, np.int64)
        self.vocabulary = 0

    def add(self, packet: Packet, frame: bytes, latency_ms: float | None, vocabulary: int) -> None:
        """Count a packet. vocabulary: how many ids its tokenizer has."""
        ids = packet.ids()
        bits = ids.size * (vocabulary - 1).bit_length()
        self._came.append((time.monotonic(), len(frame), ids.size, bits))
        if latency_ms is not None:
            self._latencies.append(latency_ms)
        if vocabulary != self.vocabulary:
            self.vocabulary, self._used = vocabulary, np.zeros(vocabulary, np.int64)
            self._hops.clear()
        self._hops.append(ids)
        np.add.at(self._used, ids, 1)
        if len(self._hops) > VOCABULARY_HOPS:
            np.subtract.at(self._used, self._hops.popleft(), 1)

    def told(self) -> dict[str, Any]:
        """Return the numbers by name; latency in ms, null where it cannot be told."""
        now = time.monotonic()
        while self._came and self._came[0][0] < now - RATE_S:
            self._came.popleft()
        seconds = min(RATE_S, max(now - self._began, 1.0))
        totals = np.array([each[1:] for each in self._came]).sum(axis=0) if self._came else np.zeros(3)
        size, tokens, bits = (float(total) / seconds for total in totals)
        p50, p99 = np.percentile(self._latencies, [50, 99]).tolist() if self._latencies else (None, None)
        return {
            "packets_s": len(self._came) / seconds,
            "bytes_s": size,
            "tokens_s": tokens,
            "bits_s": bits,
            "latency_p50": p50,
            "latency_p99": p99,
            "vocabulary": self.vocabulary,
            "used": int(np.count_nonzero(self._used)),
        }
