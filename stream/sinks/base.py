"""What a bridge hands its packets to."""

from collections.abc import Mapping
from typing import Protocol

from stream.subscribe.account import Key
from stream.subscribe.heard import Heard


class Target(Protocol):
    """All that one bridge hands on to. For use from one thread."""

    @property
    def packets(self) -> int:
        """How many were handed on."""

    @property
    def decodes(self) -> bool:
        """Whether it needs the joints, `Heard.motion`."""

    def since(self, stream: str | None) -> Mapping[Key, int]:
        """Return the newest packet that it has of each track, after which it wants all; none: it wants what comes."""

    def room(self, seconds: float) -> bool:
        """Wait up to `seconds` until it can take a message; whether it can."""

    def take(self, heard: Heard) -> None:
        """Take the next message of any kind."""

    def close(self) -> None:
        """Hand on what is left and let go."""


class Sink(Protocol):
    """Takes packets in order and hands them on to another system. For use from one thread."""

    decodes: bool
    """Whether it needs the joints, `Heard.motion`."""

    def packet(self, heard: Heard) -> None:
        """Take one hop of one person. Must not block for longer than a hop lasts."""

    def gone(self, stream: str) -> None:
        """Take note that the producer of a stream has said goodbye or begun a new run: its people are gone."""

    def close(self) -> None:
        """Hand on what is left and let go. Idempotent."""


def captured_at(heard: Heard) -> float:
    """Return when a hop's last frame was captured: seconds on this machine's monotonic clock.

    From another machine: by the producer's clock, or where that is unknown, the time of receipt.
    """
    latency = heard.latency_ms
    return heard.monotonic / 1e9 - (latency or 0.0) / 1e3
