"""The socket that packets go out by: bound, and open for anybody who subscribes."""

import threading
import time

import zmq

from stream.wire.inflow import Allowance
from stream.wire.security import OPEN, Security
from stream.wire.sockets import attend, close_socket, open_socket

LIVE_QUEUE = 1000
"""Packets kept for a subscriber slower than the stream; further ones are dropped, for that one alone."""

HEARTBEAT_MS = 1000
SILENT_LINK_MS = 3000
"""A live stream lets go of a subscriber that answers no heartbeat for this long."""

LINGER = 1.0
"""Seconds that closing waits for the last packets to leave once the run was stopped."""

QUEUED = 600.0
"""Seconds that a replay at full speed gives its readers at the end to take what they have not yet read; Ctrl-C ends
the wait."""

ALLOWANCE = Allowance(burst=8 * 1024, rate=1024.0)
"""What one subscriber may say: some hundred subscriptions, then its signs of life."""

AT_ONCE = 1000
"""Subscriptions heard before the stream goes on."""

TOPICS = 10_000
"""Subscriptions that are remembered: nobody's inventing of topics takes our memory."""


class Outlet:
    """Sends frames to subscribers. For use from one thread.

    bind: address, such as tcp://127.0.0.1:5555; port * takes a free one (see `address`). live: drop packets for a
    subscriber that cannot keep up; False, for a replay at full speed, queues them instead, as the recording is the
    bound. security: who may read. Raises WireError, SecurityError.

    Whatever sends also looks after the socket's guard, and raises SecurityError, the socket closed, if it has died.
    """

    def __init__(self, bind: str, live: bool = True, security: Security = OPEN) -> None:
        self.newcomers = 0
        """How many subscriptions have come so far."""
        self._topics: set[bytes] = set()
        options = {
            zmq.SNDHWM: LIVE_QUEUE if live else 0,
            # A reader too busy to empty its queue answers none; a replay waits for it all the same.
            zmq.HEARTBEAT_IVL: HEARTBEAT_MS if live else 0,
            zmq.HEARTBEAT_TIMEOUT: SILENT_LINK_MS,
            zmq.LINGER: int(LINGER * 1000),
            zmq.MAXMSGSIZE: 4096,  # subscriptions are all that anybody has to send here
            zmq.XPUB_VERBOSE: 1,  # tell of everybody who subscribes, not only of the first for a topic
        }
        # XPUB is PUB that also hears of subscriptions.
        self._socket = open_socket(zmq.XPUB, bind, options, security, allowance=ALLOWANCE)
        self.address = self._socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")

    def send(self, frame: bytes) -> None:
        """Send a frame to whoever has subscribed to its topic."""
        self._socket.send(frame)

    def listen(self) -> None:
        """Hear who subscribes; call it before sending and now and then."""
        attend(self._socket)
        # Read even when nobody asks, or they would pile up over a long run with many joins. Not all at once, or a flood
        # of them would hold up the stream.
        for _ in range(AT_ONCE):
            if not self._socket.poll(0):
                return
            event = self._socket.recv()
            if event[:1] == b"\1":
                self.newcomers += 1
                if len(self._topics) < TOPICS:
                    self._topics.add(event[1:])
            elif event[:1] == b"\0":
                self._topics.discard(event[1:])

    def hears(self, topic: bytes) -> bool:
        """Whether somebody has subscribed to a topic, or to some of what it begins."""
        return any(each.startswith(topic) or topic.startswith(each) for each in self._topics)

    def wait(self, stream: str | None, timeout: float, stop: threading.Event | None = None) -> bool:
        """Wait until somebody hears this stream's packets, or any; False after `timeout` seconds or on `stop`."""
        ours = f"tok/{stream}/".encode() if stream else b"tok/"
        deadline = time.monotonic() + timeout
        while not (stop and stop.is_set()):
            self.listen()
            if self.hears(ours):
                return True
            if (left := deadline - time.monotonic()) <= 0:
                return False
            self._socket.poll(int(min(left, 0.1) * 1000) + 1)
        return False

    def unrest(self) -> float:
        """Return when a link last came or went, or had something under way, on the monotonic clock; 0 if never."""
        inflow = self._socket.inflow
        if inflow is None:
            return 0.0
        return time.monotonic() if inflow.is_sending() else inflow.stirred

    def close(self, drain: float = LINGER, stop: threading.Event | None = None) -> None:
        """Close; wait up to `drain` seconds for queued packets to leave, `LINGER` once `stop` is set.

        A replay at full speed may have its whole recording in the queue: give it time. Safe to call twice.
        """
        # Waiting in another thread leaves this one free to notice the stop.
        closing = threading.Thread(
            target=close_socket, args=(self._socket, int(drain * 1000)), name="publisher-close", daemon=True
        )
        closing.start()
        while closing.is_alive() and not (stop and stop.is_set()):
            closing.join(0.05)
        closing.join(LINGER)
