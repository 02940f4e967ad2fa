"""One message as a reader heard it."""

from typing import NamedTuple

from stream.codec.decode import Motion
from stream.subscribe.account import Key
from stream.wire.packets import Message, Packet


class Clock(NamedTuple):
    """The producer's monotonic clock, by a question and its answer.

    offset: how far it is ahead of ours, ns; wrong by half of `round_trip` (ns) at most, plus what the clocks drift.
    """

    offset: int
    round_trip: int


class Heard(NamedTuple):
    """One message, the exact frame it came in, and when: ns since 1970 and ns of the monotonic clock.

    repaired: it had to be asked for again. motion: the joints, if the reader decodes. warm: it is older than what the
    reader asked for and only prepares the decoder; never handed to the reader. clock: the producer's, if known.
    """

    message: Message
    frame: bytes
    wall: int
    monotonic: int
    repaired: bool = False
    motion: Motion | None = None
    warm: bool = False
    clock: Clock | None = None

    @property
    def packet(self) -> Packet:
        """The message, which is a packet."""
        assert isinstance(self.message, Packet)
        return self.message

    @property
    def key(self) -> Key:
        """Stream, track and epoch of the packet."""
        return self.packet.stream, self.packet.track, self.packet.epoch

    @property
    def latency_ms(self) -> float | None:
        """Time from a packet's capture to its receipt; None for other messages.

        Between machines it is as exact as the `clock`, and None without one.
        """
        if not isinstance(self.message, Packet):
            return None
        # Wall minus monotonic time is when the machine booted: equal only on the same one.
        booted_apart = (self.wall - self.monotonic) - (self.message.wall - self.message.t)
        if abs(booted_apart) < 1e9:
            return (self.monotonic - self.message.t) / 1e6
        return (self.monotonic + self.clock.offset - self.message.t) / 1e6 if self.clock else None
