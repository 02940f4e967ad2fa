"""What a bridge hands its packets to."""

from typing import Protocol

from stream.subscribe.heard import Heard


class Sink(Protocol):
    """Takes packets in order and hands them on to another system. For use from one thread."""

    decodes: bool
    """Whether it needs the joints, `Heard.motion`."""

    def packet(self, heard: Heard) -> None:
        """Take one hop of one person. Must not block for longer than a hop lasts."""

    def gone(self, stream: str) -> None:
        """Take note that the producer of a stream has said goodbye or begun a new run: its people are gone."""

    def close(self) -> None:
        """Hand on what is left and let go. Safe to call twice."""


def captured_at(heard: Heard) -> float:
    """Return when a hop's last frame was captured: seconds on this machine's monotonic clock.

    From another machine: by the producer's clock, or where that is unknown, the time of receipt.
    """
    latency = heard.latency_ms
    return heard.monotonic / 1e9 - (latency or 0.0) / 1e3
