"""Reads a producer's streams for the pages: packets with their joints, and how it all goes."""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stream.client import Heard, TokenStream
from stream.errors import TokenizerError
from stream.jetstream.address import is_nats
from stream.subscribe.account import STREAMS
from stream.view.beside import BesideRelay
from stream.view.hub import STATE, Hub
from stream.view.messages import NS, hop_json
from stream.view.rates import Rates
from stream.wire.packets import Goodbye, Packet, Status
from stream.wire.recent import recall
from stream.wire.security import Security

POLL_S = 0.1
"""Seconds between two looks at the stop event and the clock."""

STATE_S = 0.25
"""Seconds between two reports of how the streams are."""

GONE_S = 2.0
"""Seconds without a sign of life after which a producer counts as gone; it gives four a second."""

_COUNTERS = ("received", "gaps", "repaired", "duplicates", "late", "invalid", "stale")


@dataclass
class _Stream:
    """What is known of one stream beyond its `StreamState`."""

    rates: Rates = field(default_factory=Rates)
    heard: float = 0.0
    status: Status | None = None
    goodbye: str = ""
    tokenizer: str = ""
    backend: str = ""


class Live:
    """Reads a producer for the pages of a hub. For use from one thread. Raises as `TokenStream` does."""

    def __init__(self, connect: str, stream: str | None, tokenizer: str | None, security: Security, hub: Hub) -> None:
        self._address, self._hub = connect, hub
        self._tokens = TokenStream(connect, stream, decode=True, tokenizer=tokenizer, security=security)
        # Brokers keep tokens alone.
        self._beside = None if is_nats(connect) else BesideRelay(connect, stream, security, hub)
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self._problem = ""
        self._undecoded = 0

    def run(self, stop: threading.Event) -> None:
        """Read until `stop` is set."""
        due = 0.0
        while not stop.is_set():
            try:
                heard = self._tokens.poll(POLL_S)
            except TokenizerError as error:  # of one sender: others are shown
                self._problem, heard = str(error), None
                self._undecoded += 1
            if heard:
                self._take(heard)
            if (now := time.monotonic()) >= due:
                due = now + STATE_S
                self._hub.post(STATE, msgspec.json.encode(self._state(now)))

    def close(self) -> None:
        """Close the sockets. Idempotent."""
        if self._beside:
            self._beside.close()
        self._tokens.close()

    def _take(self, heard: Heard) -> None:
        message = heard.message
        stream = recall(self._streams, message.stream, _Stream, STREAMS)
        stream.heard = time.monotonic()
        if isinstance(message, Packet):
            decoder = self._tokens.decoders[message.tokenizer]
            stream.tokenizer, stream.backend = decoder.spec.label, decoder.backend
            vocabulary = decoder.spec.vocabulary
            stream.rates.add(message, heard.frame, None if heard.repaired else heard.latency_ms, vocabulary)
            told = hop_json(message, heard.motion, message.t / NS, heard.latency_ms)
            self._hub.post(("hop", message.stream, message.track), told)
        elif isinstance(message, Status):
            stream.status, stream.goodbye = message, ""
        elif isinstance(message, Goodbye):
            stream.goodbye = message.reason

    def _state(self, now: float) -> dict[str, Any]:
        heard_at = self._tokens.heard_at
        told = [self._told(name, stream, now) for name, stream in sorted(self._streams.items())]
        problem = f"{self._undecoded} packets could not be decoded: {self._problem}" if self._problem else ""
        return {
            "type": "state",
            "source": self._address,
            "silent": None if heard_at is None else now - heard_at,
            "streams": told,
            "problem": problem,
        }

    def _told(self, name: str, stream: _Stream, now: float) -> dict[str, Any]:
        known = self._tokens.streams.get(name)
        status = stream.status
        gone = known is None or known.ended or now - stream.heard > GONE_S
        return {
            "name": name,
            "gone": gone,
            "goodbye": stream.goodbye if known and known.ended else "",
            "silent": now - stream.heard,
            "people": 0 if gone or status is None else status.people,
            "uptime": status.uptime if status else 0.0,
            "producer": dict(status.counters) if status else {},
            "restarts": known.restarts if known else 0,
            "tokenizer": stream.tokenizer,
            "backend": stream.backend,
            **{counter: getattr(known.counters, counter) if known else 0 for counter in _COUNTERS},
            **stream.rates.told(),
        }
