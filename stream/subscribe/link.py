"""Keeps a reader's link alive where libzmq alone would not, and says why there will be none."""

import time
from collections import deque

import zmq

from stream.errors import RefusedError
from stream.wire.sockets import Socket

LINK = {
    # Together well under a second: so soon after a cut link is whole again is a reader heard at the other end.
    zmq.CONNECT_TIMEOUT: 600,
    zmq.RECONNECT_IVL: 100,
    zmq.RECONNECT_IVL_MAX: 0,
}
"""Options of every socket that connects."""

SILENCE = 4.0
"""Seconds without any message after which a link is taken for dead, until it is known how often a status comes."""

BEATS = 4
"""Status messages missed in a row by which a link is taken for dead."""

SHORTEST, LONGEST = 1.0, 8.0
"""Seconds of silence: at least this long before a new link is taken up, and at most between two attempts."""

HANG_UPS = 10
"""Handshakes in a row, none before them having succeeded, after which a producer that ends each without a word is taken
for one with another key. Whoever forwards a port to a producer that is not there does the same, hence some patience."""

_NOT_LISTED = 400
"""ZAP's status for a key that is refused; lower ones are passing troubles."""

EVENTS = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
"""What a socket that is to be kept has to watch."""


class LinkKeeper:
    """Opens the link of a connected socket again where libzmq does not, or not in time.

    libzmq connects again after a lost link, but never after a peer that broke the protocol, such as by a message
    above the size limit: the socket would stay silent for ever, whoever listens at the address by then. And a link
    that was cut for a few seconds comes to life again only when TCP tries next, as much later as the cut was long.
    A producer tells how often it sends a status, so that silence shows the cut.
    """

    def __init__(self, socket: Socket, address: str) -> None:
        self._socket = socket
        self._address = address
        self._tidings = socket.inflow.tidings if socket.inflow else deque[tuple[int, int]]()
        self._limit = SILENCE
        self._beats = 0
        self._patience = SILENCE
        self._last: float | None = None
        self._trusted = False
        self._hang_ups = 0
        self.silent = False
        """Whether nothing has come for too long."""
        self.reconnects = 0

    def on_message(self, interval: float | None) -> bool:
        """Note that a message came; tell whether it ends a silence.

        interval: for a status, seconds to the next one at most; None for other messages.
        """
        if interval is not None:
            self._beats += 1
            if self._beats > 1:  # one alone may come from somebody who is only starting
                self._limit = max(SHORTEST, BEATS * interval)
        ended, self.silent = self.silent, False
        self._last, self._patience = time.monotonic(), self._limit
        return ended

    def mend(self) -> None:
        """Connect again if the link is gone and nobody is at it. Call this when there is nothing to read.

        Raises RefusedError where that is in vain: the producer does not list the reader's key, is not the one whose key
        the reader knows, or only one of the two has keys.
        """
        given_up = False
        while self._tidings:
            event, value = self._tidings.popleft()
            self._judge(event, value)
            # A disconnect is followed at once by a retry, or by nothing.
            given_up = event == zmq.EVENT_DISCONNECTED
        now = time.monotonic()
        if too_long := self._last is not None and now - self._last > self._patience:
            self.silent = True
            self._last, self._patience = now, min(2 * self._patience, LONGEST)
        if given_up or too_long:
            self.reconnects += 1
            self._socket.disconnect(self._address)
            self._socket.connect(self._address)

    def _judge(self, event: int, value: int) -> None:
        """Raise RefusedError if what became of a handshake shows that there will be no link."""
        curve = self._socket.get(zmq.MECHANISM) == zmq.CURVE
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._trusted = True
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH and value >= _NOT_LISTED:
            raise RefusedError(
                f"the producer at {self._address} does not list this reader's key: "
                f"run there: python -m stream.keys allow '{self._socket.public_key.decode()}' --name NAME"
            )
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
            if curve:
                raise RefusedError(
                    f"the producer at {self._address} has no keys: start it with --keys DIR, or read it without "
                    "(from another machine: with --insecure)"
                )
            raise RefusedError(
                f"the producer at {self._address} lets in listed keys only: read it with --keys DIR and --server-key"
            )
        elif event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL and curve and not self._trusted:
            self._hang_ups += 1
            if self._hang_ups >= HANG_UPS:
                raise RefusedError(
                    f"{self._address} rejects every handshake: its key is not the expected one, or it has none; "
                    "compare python -m stream.keys list there with --server-key here"
                )
