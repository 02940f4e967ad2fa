"""A log for the page: any span of it as packets with their joints, decoded as if it had been read from before."""

import threading
from collections.abc import Iterator
from functools import cache

from engine.session import open_decoder
from stream.codec.decode import StreamDecoder
from stream.log.reader import Logged, LogReader
from stream.view.messages import NS, about_json, hop_json
from stream.wire.packets import PacketError

LEAD_S = 4.0
"""Seconds before a span from which it is decoded: by its begin every decoder is exact again."""

LONGEST_S = 20.0
"""Seconds of the longest span given at once."""

MOST = 5000
"""Packets given at once; a span with more ends early."""


class Recorded:
    """A log that pages look into, from any thread.

    tokenizer: decodes, by default each packet's own. stream: show only this one.

    Raises LogError if the file cannot be opened or is not a log.
    """

    def __init__(self, path: str, tokenizer: str | None = None, stream: str | None = None) -> None:
        self._log = LogReader(path)
        self._tokenizer, self._stream = tokenizer, stream
        self._open = cache(open_decoder)
        self._lock = threading.Lock()  # a decoder serves one span at a time

    def about(self) -> bytes:
        """Return what the log holds, as JSON. Raises LogError."""
        count, first, last = self._log.span()
        missing = sum(
            gap.last - gap.first + 1 for gap in self._log.gaps() if gap.first is not None and gap.last is not None
        )
        return about_json(
            "log",
            self._log.path.name,
            packets=count,
            seconds=(last - first) / NS,
            began=first / NS,
            missing=missing,
            longest=LONGEST_S,
        )

    def span(self, begin: float, end: float) -> bytes:
        """Return the packets from `begin` to `end`, seconds from the log's start, as JSON.

        `until` is where they end: before `end` where there are more than fit. Raises LogError, TokenizerError.
        """
        end = min(end, begin + LONGEST_S)
        with self._lock:
            _, first, last = self._log.span()
            messages, until = [], end
            for logged, told in self._decoded(first, begin, end):
                messages.append(told)
                if len(messages) == MOST:
                    until = (logged.time - first) / NS
                    break
        over = b"true" if until >= (last - first) / NS else b"false"
        return b'{"until":%f,"over":%s,"messages":[%s]}' % (until, over, b",".join(messages))

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._log.close()

    def _decoded(self, first: int, begin: float, end: float) -> Iterator[tuple[Logged, bytes]]:
        decoder = StreamDecoder(self._open, self._tokenizer)
        for logged in self._log.packets(first + int((begin - LEAD_S) * NS)):
            place = (logged.time - first) / NS
            if place >= end:
                return
            if self._stream not in (None, logged.packet.stream):
                continue
            try:
                motion = decoder.decode(logged.packet)
            except PacketError:
                motion = None  # its tokens can be seen all the same
            if place >= begin:
                yield logged, hop_json(logged.packet, motion, place, None)
