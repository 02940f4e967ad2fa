"""NATS JetStream: every packet kept by brokers, once and in order, for many readers, over the loss of machines."""

from collections.abc import Mapping

from stream.errors import IncompleteLogError
from stream.jetstream.address import NatsAddress
from stream.jetstream.publisher import JetStreamPublisher
from stream.subscribe.account import Key
from stream.subscribe.heard import Heard
from stream.wire.packets import Packet

START_S = 5.0
"""Seconds that a bridge waits for brokers at its start, to hear what they have. Later it takes what comes."""

CLOSE_S = 4.0
"""Seconds that closing waits for brokers to acknowledge what is left."""


class JetStreamTarget:
    """Hands packets, goodbyes and signs of life on to JetStream.

    While brokers are away, or full, it has no room: what is not read then stays at the producer, in its history and
    log, where the bridge asks for it later. Raises RefusedError where brokers do not let us in, or keep no packets;
    `close` IncompleteLogError where they did not acknowledge all.
    """

    decodes = False

    def __init__(self, address: NatsAddress) -> None:
        self._publisher = JetStreamPublisher(address)
        self._place = address.shown
        self.packets = 0

    def since(self, stream: str | None) -> Mapping[Key, int]:
        """Return the newest packet that brokers have of each track."""
        return self._publisher.stored_of(stream, START_S)

    def room(self, seconds: float) -> bool:
        """Wait up to `seconds` until a message can be taken; whether it can."""
        return self._publisher.room(seconds)

    def take(self, heard: Heard) -> None:
        """Store a message."""
        self._publisher.take(heard.message)
        self.packets += isinstance(heard.message, Packet)

    def close(self) -> None:
        """Wait for the acknowledgements. Safe to call twice."""
        if left := self._publisher.close(CLOSE_S):
            raise IncompleteLogError(
                f"{left} packets did not reach {self._place}: the producer's log has them, if it has one; "
                "python -m stream.replay hands them out again, to another bridge"
            )
