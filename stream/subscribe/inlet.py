"""Where a reader's messages come from."""

from collections.abc import Iterable
from typing import Protocol

import zmq

from stream.subscribe.link import EVENTS, LINK, LinkKeeper
from stream.wire.security import Security
from stream.wire.sockets import close_socket, open_socket

MAX_MESSAGE = 1024 * 1024
"""Bytes from which on libzmq drops the link to the sender instead of taking a message in."""


class Inlet(Protocol):
    """Gives messages as they come. For use from one thread."""

    @property
    def silent(self) -> bool:
        """Whether nothing has come for too long."""

    @property
    def away(self) -> bool:
        """Whether the reader was too slow, and hears nothing until `reopen`."""

    @property
    def shares(self) -> bool:
        """Whether other readers take some of the packets, so that this one has gaps that are no losses."""

    @property
    def reconnects(self) -> int:
        """How often a lost link was taken up anew."""

    def subscribe(self, topic: bytes) -> None:
        """Ask for the messages whose topics begin so."""

    def take(self) -> list[bytes]:
        """Return the parts of the next message that has come, none if there is none."""

    def wait(self, seconds: float, others: Iterable["zmq.Socket[bytes]"]) -> None:
        """Wait up to `seconds` for a message, or for one at other sockets."""

    def on_message(self, interval: float | None) -> bool:
        """Note that a valid message came; tell whether it ends a silence. interval: as in `LinkKeeper`."""

    def mend(self) -> None:
        """Take a lost link up anew, when there is nothing to read. Raises RefusedError where that is in vain."""

    def reopen(self) -> None:
        """Hear messages again after having been too slow."""

    def close(self) -> None:
        """Let go. Safe to call twice."""


class SocketInlet:
    """A producer's socket. Raises WireError for a malformed address, SecurityError."""

    shares = False

    def __init__(self, connect: str, security: Security) -> None:
        options = LINK | {
            zmq.LINGER: 0,
            zmq.MAXMSGSIZE: MAX_MESSAGE,
            # Heartbeats are the producer's; the `LinkKeeper` finds a cut link here.
            zmq.HEARTBEAT_IVL: 0,
        }
        self._socket = open_socket(zmq.SUB, connect, options, security, EVENTS)
        self._link = LinkKeeper(self._socket, connect)
        self.subscribe, self.take = self._socket.subscribe, self._socket.take
        self.on_message, self.mend = self._link.on_message, self._link.mend

    @property
    def silent(self) -> bool:
        """Whether nothing has come for too long."""
        return self._link.silent

    @property
    def away(self) -> bool:
        """Whether the reader was too slow, and hears nothing until `reopen`."""
        return self._socket.inflow is not None and self._socket.inflow.full

    @property
    def reconnects(self) -> int:
        """How often a dead link was taken up anew."""
        return self._link.reconnects

    def reopen(self) -> None:
        """Hear messages again after having been too slow."""
        if self._socket.inflow:
            self._socket.inflow.reopen()

    def wait(self, seconds: float, others: Iterable["zmq.Socket[bytes]"]) -> None:
        """Wait up to `seconds` for a message, or for one at other sockets."""
        poller = zmq.Poller()
        for socket in (self._socket, *others):
            poller.register(socket, zmq.POLLIN)
        poller.poll(max(0, int(seconds * 1000)) + 1)

    def close(self) -> None:
        """Close the socket. Safe to call twice."""
        close_socket(self._socket, linger_ms=0)
