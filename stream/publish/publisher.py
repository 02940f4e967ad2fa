"""The producer's end of the wire: binds, numbers the packets, says how it is and says goodbye."""

import os
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from numpy.typing import NDArray

from stream.log.background import LogWriter
from stream.publish.history import SECONDS, History
from stream.publish.outlet import LINGER, Outlet
from stream.wire.packets import (
    Goodbye,
    Packet,
    Status,
    check_stream_name,
    encode,
    encode_control,
    pack_ids,
)
from stream.wire.security import OPEN, Security

STATUS_INTERVAL = 0.25
"""Seconds between two status messages: readers tell by them when a link is dead."""

FAREWELL_TRACKS = 1000
"""Tracks named in a goodbye, the most recent ones: keeps it a small message however long the run was."""


class Broadcast:
    """One run of one stream over an outlet: passes its packets on, says how it is, says goodbye. For one thread.

    history: seconds for which what was published stays at hand in `history`.
    """

    def __init__(self, outlet: Outlet, stream: str, epoch: bytes, history: float = SECONDS) -> None:
        self.stream, self.epoch = stream, epoch
        self.history = History(stream, epoch, history)
        self.control = ""
        """Where the control socket is, for the status to tell; set it when there is one (see `Status`)."""
        self.tokenizer: str | None = None
        """The label of what makes the packets, for the status to tell; set it where it is known before the first."""
        self.last: dict[int, int] = {}
        """The seq of each track's last packet, in the order of last use."""
        self._outlet = outlet
        self._started = time.monotonic()
        self._status_due = self._started
        self._greeted = outlet.newcomers
        self._state: tuple[int, dict[str, int]] = (0, {})
        self._published = 0

    def pass_on(self, packet: Packet, frame: bytes) -> None:
        """Send a packet of this run in the frame that it has."""
        self.last.pop(packet.track, None)
        self.last[packet.track] = packet.seq
        self.history.add(packet, frame)
        self._send(frame)
        self._published += 1

    def hears(self, topic: bytes) -> bool:
        """Whether somebody has subscribed to a topic."""
        return self._outlet.hears(topic)

    def beside(self, frame: bytes) -> None:
        """Send what goes beside the packets: it is neither numbered nor kept."""
        self._outlet.send(frame)

    def status(self, people: int, counters: Mapping[str, int]) -> None:
        """Send a sign of life if one is due, each `STATUS_INTERVAL` and for whoever has just subscribed.

        Call it as often as you like. people: how many are followed now; counters: totals since the start, at most 64.
        """
        self._state = (people, dict(counters))
        self._outlet.listen()
        if self._outlet.newcomers != self._greeted or time.monotonic() >= self._status_due:
            self._send_status()

    def goodbye(self, reason: str, more: bool = False) -> None:
        """Tell the subscribers that this run is over, why, and where each track ended. more: another run follows."""
        last = tuple(self.last.items())[-FAREWELL_TRACKS:]
        goodbye = Goodbye(stream=self.stream, epoch=self.epoch, reason=reason[:200], last=last, more=more)
        self._send(encode_control(goodbye))

    def _send(self, frame: bytes) -> None:
        # Before their first packet newcomers hear where to ask for what they miss.
        self._outlet.listen()
        if self._outlet.newcomers != self._greeted:
            self._send_status()
        self._outlet.send(frame)

    def _send_status(self) -> None:
        now = time.monotonic()
        self._status_due, self._greeted = now + STATUS_INTERVAL, self._outlet.newcomers
        people, counters = self._state
        status = Status(
            stream=self.stream,
            epoch=self.epoch,
            uptime=now - self._started,
            people=people,
            counters=counters,
            interval=STATUS_INTERVAL,
            published=self._published,
            control=self.control,
            tokenizer=self.tokenizer,
        )
        self._outlet.send(encode_control(status))


class Publisher(Broadcast):
    """Publishes the packets of one stream under a new epoch. For use from one thread.

    bind: address, such as tcp://127.0.0.1:5555; port * takes a free one (see `address`).
    stream: its name. live: drop packets for a subscriber that cannot keep up; False, for a replay at full
    speed, queues them instead, as the recording is the bound. history: seconds for which what was published stays
    at hand in `history`. security: who may read. Raises WireError, SecurityError, ValueError for a bad name.

    Whatever sends also looks after the socket's guard, and raises SecurityError, the socket closed, if it has died.
    """

    def __init__(
        self, bind: str, stream: str, live: bool = True, history: float = SECONDS, security: Security = OPEN
    ) -> None:
        check_stream_name(stream)
        outlet = Outlet(bind, live, security)
        super().__init__(outlet, stream, os.urandom(16), history)
        self.log: LogWriter | None = None
        """Keeps the packets too, if set."""
        self.address = outlet.address

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
            seq=self.last.get(track, -1) + 1,
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
        if self.log:
            self.log.keep(packet, encoded)
        self.pass_on(packet, encoded)
        return packet

    def wait_for_subscriber(self, timeout: float, stop: threading.Event | None = None) -> bool:
        """Wait until somebody hears this stream's packets; False after `timeout` seconds or on `stop`."""
        return self._outlet.wait(self.stream, timeout, stop)

    def close(self, drain: float = LINGER, stop: threading.Event | None = None) -> None:
        """Close as an `Outlet` does. Safe to call twice."""
        self._outlet.close(drain, stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
