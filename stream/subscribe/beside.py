"""Reads what a producer sends beside its tokens, over a link of its own: the packets never wait behind pictures."""

import time
from typing import Self

import zmq

from stream.subscribe.link import EVENTS, LINK, LinkKeeper
from stream.wire.beside import Beside, JointsBeside, PictureBeside, decode_beside, topic_of
from stream.wire.packets import MAX_FRAME, PacketError
from stream.wire.security import OPEN, Security
from stream.wire.sockets import close_socket, open_socket

MAX_MESSAGE = 2 * MAX_FRAME
"""Bytes from which on libzmq drops the link to the sender instead of taking a message in."""


class BesideReader:
    """connect, stream, security: as for `TokenStream`. For use from one thread. Raises WireError, SecurityError."""

    def __init__(self, connect: str, stream: str | None = None, security: Security = OPEN) -> None:
        options = LINK | {zmq.LINGER: 0, zmq.MAXMSGSIZE: MAX_MESSAGE, zmq.HEARTBEAT_IVL: 0}
        self._topics = [topic_of(kind, stream) for kind in (JointsBeside, PictureBeside)]
        self._socket = open_socket(zmq.SUB, connect, options, security, EVENTS)
        self._link = LinkKeeper(self._socket, connect)
        self._wanted = False
        self.invalid = 0
        """Messages that broke the format."""

    @property
    def wanted(self) -> bool:
        """Whether anything is asked for; at first nothing is, and a producer then makes nothing."""
        return self._wanted

    @wanted.setter
    def wanted(self, wanted: bool) -> None:
        if wanted != self._wanted:
            self._wanted = wanted
            for topic in self._topics:
                self._socket.subscribe(topic) if wanted else self._socket.unsubscribe(topic)

    def poll(self, timeout: float) -> Beside | None:
        """Return the next valid message, None if there is none within `timeout` seconds. Raises RefusedError."""
        deadline = time.monotonic() + timeout
        while True:
            if parts := self._socket.take():
                try:
                    if len(parts) > 1:
                        raise PacketError(f"{len(parts)} frames in one message")
                    message = decode_beside(parts[0])
                except PacketError:
                    self.invalid += 1
                else:
                    self._link.on_message(None)
                    return message
            else:
                if self._wanted:  # else silence is as it should be
                    self._link.mend()
                left = deadline - time.monotonic()
                if left > 0:
                    self._socket.poll(int(left * 1000) + 1)
            if time.monotonic() >= deadline:
                return None

    def close(self) -> None:
        """Close the socket. Safe to call twice."""
        close_socket(self._socket, linger_ms=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
