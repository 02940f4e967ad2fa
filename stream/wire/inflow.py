"""Bounds what a peer may send. libzmq has no such bound but the high-water mark, and that one ends the process.

A libzmq that stops reading at its high-water mark aborts when the link is then reset with a PING, or a heartbeat of our
own, still to be dealt with (zeromq/libzmq#3937, #4364): every release up to 4.3.5 does. And neither the mark nor
ZMQ_MAXMSGSIZE bounds a message of endlessly many parts. So our sockets have no mark, and never stop reading; how many
bytes came over each link is asked of the system instead (TCP_INFO of Linux), and a link that brings too many is cut.
"""

import select
import socket as system
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import zmq
from zmq.utils.monitor import recv_monitor_message

from stream.wire.door import Door

LOOK_S = 0.005
"""Seconds between two looks at what comes to a reader; what a flood brings between two is the overshoot."""

UNREAD = 8 * 2**20
"""Bytes that may wait unread in a reader's socket: half an hour of four people. Beyond them its link is cut, and stays
so until the reader says that it has caught up."""

UNFINISHED = 2 * 2**20
"""Bytes of one message that may have come before it is whole, from a peer whose messages have 1 MiB at most."""

TIDINGS = 1000
"""Events of a link that are kept for whoever wants them, the latest ones."""

LINKS = (
    zmq.EVENT_LISTENING | zmq.EVENT_ACCEPTED | zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_MONITOR_STOPPED
)
"""What has to be watched of a socket."""

_RECEIVED = 128
"""Where in struct tcp_info of Linux the bytes received stand (tcpi_bytes_received, u64, since 4.1)."""

_AT_ONCE = struct.pack("ii", 1, 0)
"""Linger of a link whose peer is to hear of its end at once, by a reset."""


@dataclass(frozen=True)
class Allowance:
    """What each peer of a bound socket may send: `burst` bytes at once, `rate` bytes a second."""

    burst: int
    rate: float


@dataclass(slots=True)
class _Link:
    ends: tuple[object, object]
    peer: str
    received: int = 0
    spent: float = 0.0
    at: float = field(default_factory=time.monotonic)


class Inflow:
    """Watches the links of one tcp socket in a thread of its own, from before it has any until the socket is closed.

    allowance: of each peer of a bound socket; None for a connected one, whose reader tells by `took` and `found_empty`
    what it has read. events: the monitor of the socket, which the thread reads and closes; `tidings` hands on what it
    said. Where the system does not tell what came (not Linux), nothing is cut.
    """

    def __init__(self, events: "zmq.Socket[bytes]", allowance: Allowance | None) -> None:
        self.tidings: deque[tuple[int, int]] = deque(maxlen=TIDINGS)
        """(event, value) of the socket's links."""
        self.cut = 0
        """How many links were cut."""
        self.full = False
        """Whether a reader had too much before it, so that its links are cut at once until `reopen`."""
        self.stirred = 0.0
        """When a link last came or went, on the monotonic clock."""
        self._events, self._allowance = events, allowance
        self._door = Door()
        self._links: dict[int, _Link] = {}
        # Written by the reader's thread alone; the watcher keeps how they were at its last look.
        self._taken = self._takes = self._empties = 0
        self._seen = (0, 0, 0)
        self._unread = self._unfinished = 0
        self._arrivals: select.epoll | None = None
        if hasattr(select, "epoll"):
            self._arrivals = select.epoll()
            self._arrivals.register(int(events.get(zmq.FD)), select.EPOLLIN)
        self._thread = threading.Thread(target=self._watch, name="inflow", daemon=True)
        self._thread.start()

    def took(self, size: int) -> None:
        """Note that the reader took a message of `size` bytes on the wire."""
        self._taken += size
        self._takes += 1

    def found_empty(self) -> None:
        """Note that the reader found no message: all that is left is one that is not whole."""
        self._empties += 1

    def reopen(self) -> None:
        """Let links be again, now that the reader has read all."""
        self.full = False

    def is_sending(self) -> bool:
        """Whether something that was sent has not yet arrived at some link's end. False where nobody tells."""
        for number, link in list(self._links.items()):
            with suppress(OSError), _lent(number) as handle:  # it may be over already
                if _ends(handle) == link.ends and _outstanding(number):
                    return True
        return False

    def join(self) -> None:
        """Wait for the thread, once the monitor was disabled."""
        self._thread.join()

    def _watch(self) -> None:
        with self._events, suppress(zmq.ContextTerminated):
            while self._hear():
                if self._arrivals is None:
                    self._events.poll()
                    continue
                # Returns as soon as anything comes over a link, or there is an event.
                self._look({number for number, _ in self._arrivals.poll(self._door.tend())})
                if not self._allowance:  # peers of a bound socket have little to say; a reader's has the stream
                    time.sleep(LOOK_S)

    def _hear(self) -> bool:
        """Take the events that have come; False once there will be no more."""
        while self._events.poll(0):
            message = recv_monitor_message(self._events)
            event, value = message["event"], int(message["value"])
            if event == zmq.EVENT_MONITOR_STOPPED:
                return False
            self._note(event, value)
        return True

    def _note(self, event: int, value: int) -> None:
        self.tidings.append((event, value))
        if event & (zmq.EVENT_ACCEPTED | zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED):
            self.stirred = time.monotonic()
        if event & (zmq.EVENT_ACCEPTED | zmq.EVENT_CONNECTED):
            with suppress(OSError), _lent(value) as handle:  # it may be gone by now
                self._links[value] = _Link(_ends(handle), _peer(handle))
                if self.full or (self._allowance and not self._door.enter(self._links[value].peer)):
                    self._cut(value, self._links[value])
                elif self._arrivals:
                    self._arrivals.register(value, select.EPOLLIN | select.EPOLLET)
        elif event == zmq.EVENT_LISTENING:
            self._door.listen(value)
        elif event == zmq.EVENT_DISCONNECTED:
            self._forget(value)

    def _look(self, numbers: set[int]) -> None:
        """Look at these links, and cut what brought too much."""
        came = 0
        for number in numbers & self._links.keys():
            link = self._links[number]
            try:
                with _lent(number) as handle:
                    received = _received(handle)
            except OSError:  # closed: the event comes
                continue
            new, link.received = received - link.received, received
            came += new
            if self._allowance and self._is_overdrawn(link, new, self._allowance):
                self._put_out(number, link)
        if not self._allowance and self._is_too_much(came):
            for number, link in list(self._links.items()):
                self._cut(number, link)
            self._unread, self._unfinished = self._unread - self._unfinished, 0  # libzmq drops what is not whole

    def _is_overdrawn(self, link: _Link, new: int, allowance: Allowance) -> bool:
        now = time.monotonic()
        link.spent = max(0.0, link.spent - (now - link.at) * allowance.rate) + new
        link.at = now
        return link.spent > allowance.burst

    def _is_too_much(self, came: int) -> bool:
        """Whether a reader has too much before it, after `came` more bytes."""
        now = self._taken, self._takes, self._empties
        taken, takes, empties = (new - old for new, old in zip(now, self._seen, strict=True))
        self._seen = now
        self._unread += came - taken
        self._unfinished = came if takes else self._unfinished + came
        if not empties:
            self.full |= self._unread > UNREAD
            return self.full
        self._unread = min(self._unread, self._unfinished)
        return self._unfinished > UNFINISHED and not takes

    def _put_out(self, number: int, link: _Link) -> None:
        """End a link, and let nobody in from there for a while."""
        self._door.shut(link.peer)
        self._cut(number, link)

    def _forget(self, number: int) -> None:
        link = self._links.pop(number, None)
        if link and self._allowance:
            self._door.leave(link.peer)

    def _cut(self, number: int, link: _Link) -> None:
        """End one link. libzmq hears of it as of any other end."""
        self._forget(number)
        with suppress(OSError), _lent(number) as handle:  # it may be over already
            # The number may be another's by now, if libzmq has closed the link meanwhile.
            if _ends(handle) == link.ends:
                handle.setsockopt(system.SOL_SOCKET, system.SO_LINGER, _AT_ONCE)
                handle.shutdown(system.SHUT_RDWR)
                self.cut += 1


@contextmanager
def _lent(number: int) -> Iterator[system.socket]:
    """Give a socket of libzmq's for a moment. It stays libzmq's: were it closed here, libzmq would end the process."""
    handle = system.socket(system.AF_INET, system.SOCK_STREAM, fileno=number)
    try:
        yield handle
    finally:
        handle.detach()


def _ends(handle: system.socket) -> tuple[object, object]:
    return handle.getsockname(), handle.getpeername()


def _peer(handle: system.socket) -> str:
    """Return the address at the other end of a link, without the port."""
    return str(handle.getpeername()[0])


def _outstanding(number: int) -> int:
    """Return the bytes sent over a link and not yet acknowledged, 0 where the system does not tell."""
    if not hasattr(system, "TCP_INFO"):
        return 0
    import fcntl
    import termios

    return int(struct.unpack("i", fcntl.ioctl(number, termios.TIOCOUTQ, bytes(4)))[0])


def _received(handle: system.socket) -> int:
    """Return the bytes that have come over a link, 0 where the system does not tell. Raises OSError if it is closed."""
    if not hasattr(system, "TCP_INFO"):
        return 0
    told = handle.getsockopt(system.IPPROTO_TCP, system.TCP_INFO, _RECEIVED + 8)
    return int(struct.unpack_from("=Q", told, _RECEIVED)[0]) if len(told) >= _RECEIVED + 8 else 0
