"""A reader's end of the control socket: asks, asks again where no answer comes, and never waits unless told to."""

import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import msgspec
import zmq

from stream.subscribe.link import LINK
from stream.wire.packets import PacketError
from stream.wire.requests import MAX_REPLY, Refusal, Reply, Request, decode_reply, encode_request
from stream.wire.security import OPEN, Security
from stream.wire.sockets import close_socket, open_socket

AGAIN = 0.5
"""Seconds after which a request is sent again over a new link; twice as long after each time."""

PATIENCE = 3.0
"""Seconds after which a request without an answer is given up."""

BUSY = 30.0
"""Seconds for which a request waits for a control socket that says it is busy."""

WINDOW = 4
"""Requests that should be under way at once."""


@dataclass(slots=True)
class _Sent:
    request: Request
    begun: float
    first: float
    due: float
    pause: float = AGAIN
    asked_to_wait: bool = False


class Asker:
    """Asks one control socket. For use from one thread. Raises WireError for a bad address, SecurityError."""

    def __init__(self, address: str, security: Security = OPEN) -> None:
        self.address = address
        self.alive = True
        """False once a request was given up, until the next answer."""
        self._waiting: dict[int, _Sent] = {}
        self._answered: deque[tuple[Request, Reply | None]] = deque()
        self._number = 0
        self._abandoned = threading.Event()
        options = LINK | {zmq.SNDHWM: 64, zmq.LINGER: 0, zmq.MAXMSGSIZE: MAX_REPLY}
        self.socket = open_socket(zmq.DEALER, address, options, security)

    @property
    def free(self) -> bool:
        """Whether one more request may go under way."""
        return len(self._waiting) < WINDOW

    def ask(self, request: Request) -> int:
        """Send a request, under an id of our own, which is returned; `receive` gives the answer."""
        self._number += 1
        now = time.monotonic()
        sent = _Sent(msgspec.structs.replace(request, id=self._number), now, now, now + AGAIN)
        self._waiting[self._number] = sent
        self._send(sent)
        return self._number

    def receive(self) -> list[tuple[Request, Reply | None]]:
        """Return the answers that have come, with their requests; None for one that was given up."""
        while (reply := self._next()) is not None:
            sent = self._waiting.get(reply.id)
            self.alive = True
            if sent is None:
                continue  # answered twice, having been asked twice
            if isinstance(reply, Refusal) and reply.code == "busy" and time.monotonic() < sent.begun + BUSY:
                sent.first = time.monotonic()
                sent.due, sent.asked_to_wait = sent.first + min(reply.retry, 1.0), True
                continue
            del self._waiting[reply.id]
            self._answered.append((sent.request, reply))
        self._mind_time()
        answered = list(self._answered)
        self._answered.clear()
        return answered

    def wait(self, request: Request) -> Reply | None:
        """Ask and wait for the answer; None if none comes. Other answers stay for `receive`."""
        number = self.ask(request)
        others: list[tuple[Request, Reply | None]] = []
        while not self.abandoned:
            for asked, reply in self.receive():
                if asked.id == number:
                    self._answered.extendleft(reversed(others))
                    return reply
                others.append((asked, reply))
            self.socket.poll(50)
        return None

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for answers any more."""
        return self._abandoned.is_set()

    def abandon(self) -> None:
        """End all waiting, now and later, in whatever thread it is."""
        self._abandoned.set()

    def hope(self) -> None:
        """Take up a fresh link and ask again: it is the time when this may help, such as after a silence."""
        now = time.monotonic()
        self.alive = True
        self._reconnect()
        for sent in self._waiting.values():
            sent.first, sent.pause = now, AGAIN / 2
            self._again(sent, now)

    def close(self) -> None:
        """Close the socket. Safe to call twice."""
        close_socket(self.socket, linger_ms=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _next(self) -> Reply | None:
        """Return the next sound reply that has come."""
        while parts := self.socket.take():
            with suppress(PacketError):
                if len(parts) == 1:
                    return decode_reply(parts[0])
        if self.socket.inflow:
            self.socket.inflow.reopen()  # what was lost is asked for again
        return None

    def _mind_time(self) -> None:
        now = time.monotonic()
        late = [sent for sent in self._waiting.values() if now >= sent.due]
        for sent in late:
            if sent.asked_to_wait:
                self._again(sent, now)
            elif now - sent.first >= PATIENCE:
                del self._waiting[sent.request.id]
                self._answered.append((sent.request, None))
                self.alive = False
        if any(not sent.asked_to_wait and sent.due <= now for sent in late):
            # What was sent over a link that a cut has left half open would wait for minutes.
            self._reconnect()
            for sent in self._waiting.values():
                self._again(sent, now)

    def _again(self, sent: _Sent, now: float) -> None:
        sent.asked_to_wait = False
        sent.pause *= 2
        sent.due = min(now + sent.pause, sent.first + PATIENCE)
        self._send(sent)

    def _send(self, sent: _Sent) -> None:
        with suppress(zmq.Again):  # it is sent again in time
            self.socket.send(encode_request(sent.request), zmq.NOBLOCK)

    def _reconnect(self) -> None:
        self.socket.disconnect(self.address)
        self.socket.connect(self.address)


def control_address(connect: str, told: str) -> str | None:
    """Return where a producer's control socket is, from the reader's address and the status; None: nowhere."""
    scheme, _, rest = connect.partition("://")
    if told.startswith("tcp://*:"):
        host = rest.rpartition(":")[0] if scheme == "tcp" else "127.0.0.1"
        return f"tcp://{host}:{told.rpartition(':')[2]}"
    return told if told.startswith(f"{scheme}://") else None
