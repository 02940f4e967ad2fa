"""The producer's end of the wire: binds, numbers the packets, says how it is and says goodbye."""

import os
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

import zmq
from numpy.typing import NDArray

from stream.sockets import close_socket, open_socket
from stream.wire import (
    Goodbye,
    Packet,
    Status,
    check_stream_name,
    encode,
    encode_control,
    pack_ids,
)

LIVE_QUEUE = 1000
"""Packets kept for a subscriber slower than the stream; further ones are dropped, for that one alone."""

HEARTBEAT_MS = 1000
SILENT_LINK_MS = 3000
"""A live stream lets go of a subscriber that answers no heartbeat for this long."""

STATUS_INTERVAL = 1.0
"""Seconds between two status messages."""

LINGER = 1.0
"""Seconds that closing waits for the last packets to leave once the run was stopped."""

FAREWELL_TRACKS = 1000
"""Tracks named in a goodbye, the most recent ones: keeps it a small message however long the run was."""


class Publisher:
    """Publishes the packets of one stream under a new epoch. For use from one thread.

    bind: address, such as tcp://127.0.0.1:5555; port * takes a free one (see `address`).
    stream: its name. live: drop packets for a subscriber that cannot keep up; False, for a replay at full
    speed, queues them instead, as the recording is the bound. Raises WireError, ValueError for a bad name.
    """

    def __init__(self, bind: str, stream: str, live: bool = True) -> None:
        self.stream = check_stream_name(stream)
        self.epoch = os.urandom(16)
        self._started = time.monotonic()
        self._status_due = self._started
        self._last: dict[int, int] = {}  # track -> seq, in the order of last use
        self._topics: set[bytes] = set()
        options = {
            zmq.SNDHWM: LIVE_QUEUE if live else 0,
            # A reader too busy to empty its queue answers none; a replay waits for it all the same.
            zmq.HEARTBEAT_IVL: HEARTBEAT_MS if live else 0,
            zmq.HEARTBEAT_TIMEOUT: SILENT_LINK_MS,
            zmq.LINGER: int(LINGER * 1000),
            zmq.MAXMSGSIZE: 4096,  # subscriptions are all that anybody has to send here
        }
        # XPUB is PUB that also hears of subscriptions.
        self._socket = open_socket(zmq.XPUB, bind, options)
        self.address = self._socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")

    def publish(
        self,
        *,
        track: int,
        frame: int,
        t: int,
        wall: int,
        fps: float,
        hop: int,
        tokenizer: str,
        ids: NDArray[Any],
        box: Iterable[float],
        unit: Literal["px", "cm"],
        observed: int,
        reset: bool,
    ) -> Packet:
        """Number and send the tokens of one hop, ids [L, t, h, w]; the other fields as in `Packet`.

        Raises PacketError if a field breaks the wire format; no number is used up then.
        """
        shape, tokens = pack_ids(ids)
        packet = Packet(
            stream=self.stream,
            track=int(track),
            epoch=self.epoch,
            seq=self._last.get(track, -1) + 1,
            frame=int(frame),
            t=int(t),
            wall=int(wall),
            fps=float(fps),
            hop=int(hop),
            tokenizer=tokenizer,
            shape=shape,
            tokens=tokens,
            box=tuple(map(float, box)),
            unit=unit,
            observed=int(observed),
            reset=bool(reset),
        )
        encoded = encode(packet)
        self._last.pop(track, None)
        self._last[packet.track] = packet.seq
        self._send(encoded)
        return packet

    def status(self, people: int, counters: Mapping[str, int]) -> None:
        """Send a sign of life if one is due: call it as often as you like, it sends one a second.

        people: how many are followed now; counters: totals since the start, at most 64.
        """
        now = time.monotonic()
        if now < self._status_due:
            return
        self._status_due = now + STATUS_INTERVAL
        uptime = now - self._started
        status = Status(stream=self.stream, epoch=self.epoch, uptime=uptime, people=people, counters=dict(counters))
        self._send(encode_control(status))

    def goodbye(self, reason: str) -> None:
        """Tell the subscribers that this run is over, why, and where each track ended."""
        last = tuple(self._last.items())[-FAREWELL_TRACKS:]
        self._send(encode_control(Goodbye(stream=self.stream, epoch=self.epoch, reason=reason[:200], last=last)))

    def wait_for_subscriber(self, timeout: float, stop: threading.Event | None = None) -> bool:
        """Wait until somebody hears this stream's packets; False after `timeout` seconds or on `stop`."""
        deadline = time.monotonic() + timeout
        while not (stop and stop.is_set()):
            self._hear_subscriptions()
            ours = f"tok/{self.stream}/".encode()
            if any(topic.startswith(ours) or ours.startswith(topic) for topic in self._topics):
                return True
            if (left := deadline - time.monotonic()) <= 0:
                return False
            self._socket.poll(int(min(left, 0.1) * 1000) + 1)
        return False

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _send(self, frame: bytes) -> None:
        self._hear_subscriptions()
        self._socket.send(frame)

    def _hear_subscriptions(self) -> None:
        # Read even when nobody asks, or they would pile up over a long run with many joins.
        while self._socket.poll(0):
            event = self._socket.recv()
            if event[:1] == b"\1":
                self._topics.add(event[1:])
            elif event[:1] == b"\0":
                self._topics.discard(event[1:])
