"""The producer's control socket: tells what there is and hands out again what readers missed."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import zmq

from engine.spec import TokenizerFiles
from stream.codec.rate import Rate
from stream.errors import KinetokenError, WireError
from stream.publish.answers import Answers, Archive, Unanswerable
from stream.publish.history import History
from stream.wire.inflow import Allowance
from stream.wire.limits import TokenBucket
from stream.wire.packets import PacketError
from stream.wire.recent import recall
from stream.wire.requests import MAX_REQUEST, Refusal, ReplayReply, decode_request, encode_reply, request_id
from stream.wire.security import OPEN, Security
from stream.wire.sockets import Socket, attend, close_socket, open_socket

PEER_RATE, PEER_BURST = 200.0, 400.0
"""Requests a second, and at once, of one peer; beyond them it is told to wait."""

RATE, BURST = 1000.0, 400.0
"""Replies a second, and at once, to all peers; further requests are dropped, and asked again by who means it."""

ALLOWANCE = Allowance(burst=256 * 1024, rate=64 * 1024.0)
"""Bytes that one peer may send: about twice what its requests come to at its highest rate."""

PEERS = 256
"""Peers whose rates are remembered, the most recent ones."""

OUTSTANDING = 8
"""Replies that may wait for one peer; further ones to a peer that takes none are dropped."""

FAREWELL = 0.25
"""Seconds without a request after which, at the end of a run, its control socket closes."""

BEAT_MS = 100


@dataclass(slots=True)
class ControlCounters:
    """What the control socket did.

    packets: handed out again. refused: answered by an error, `malformed` among them. dropped: there were too many.
    """

    requests: int = 0
    packets: int = 0
    refused: int = 0
    malformed: int = 0
    dropped: int = 0


class ControlServer:
    """Answers requests (see `stream.wire.requests`) in a thread of its own, for as long as it is open.

    bind: address; None takes the one that belongs to `beside`, the publisher's address: for tcp the next port, or a
    free one where that is taken, for ipc and inproc the same with `.control`. tokenizer: the one whose files readers
    may fetch. log: the producer's own log, for packets and epochs that the history has let go of; it is read in this
    thread. security: who may ask. Raises WireError, SecurityError.
    """

    def __init__(
        self,
        history: History,
        bind: str | None = None,
        beside: str | None = None,
        tokenizer: TokenizerFiles | None = None,
        log: Archive | None = None,
        security: Security = OPEN,
    ) -> None:
        self.counters = ControlCounters()
        self._answers = Answers(history, tokenizer, log)
        self._peers: OrderedDict[bytes, TokenBucket] = OrderedDict()
        self._all = TokenBucket(RATE, BURST)
        self._stop = threading.Event()
        self.asked_at = 0.0
        """When somebody last asked, on the monotonic clock."""
        self._socket = _open(bind, beside, security)
        self._failure: Exception | None = None
        self.address = self._socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    @property
    def told(self) -> str:
        """The address as a status tells it: `*` for the host of a tcp address."""
        scheme, _, rest = self.address.partition("://")
        return f"tcp://*:{rest.rpartition(':')[2]}" if scheme == "tcp" else self.address

    def let_steer(self, set_rate: Callable[[Rate], None]) -> None:
        """Let readers choose how many levels hops take. set_rate: raises ValueError for a rate that cannot be."""
        self._answers.set_rate = set_rate

    def check(self) -> None:
        """Raise what ended the socket: SecurityError if its guard has died, WireError if its address was lost."""
        if self._failure:
            raise self._failure

    def close(self, quiet: float = 0.0, limit: float = 0.5) -> None:
        """Stop answering, once nobody has asked for `quiet` seconds, after `limit` seconds at the latest.

        Give readers a moment after the goodbye: only then do they know what they lack at the end. Safe to call twice.
        """
        deadline = time.monotonic() + limit
        if quiet and not self._stop.is_set():
            self.asked_at = time.monotonic()
            while self._thread.is_alive() and time.monotonic() < min(deadline, self.asked_at + quiet):
                self._stop.wait(0.01)
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _serve(self) -> None:
        try:
            while not self._stop.is_set():
                attend(self._socket)
                if not self._socket.poll(BEAT_MS):
                    continue
                parts = self._socket.recv_multipart()
                self.asked_at = time.monotonic()
                # Requests are read as fast as they come, answered or not: libzmq must never stop reading.
                if self._all.take():
                    self.counters.requests += 1
                    self.counters.dropped += 1
                    continue
                # REQ sockets put an empty part before the request, DEALER sockets need not.
                if len(parts) == 2 or (len(parts) == 3 and not parts[1]):
                    reply = self._reply(parts[0], parts[-1])
                    with suppress(zmq.ZMQError):  # a peer that takes no replies, or is gone, gets none
                        self._socket.send_multipart([*parts[:-1], reply], zmq.NOBLOCK)
                else:
                    self.counters.requests += 1
                    self.counters.malformed += 1
        except Exception as error:
            self._failure = error
        finally:
            close_socket(self._socket, linger_ms=200)

    def _reply(self, peer: bytes, data: bytes) -> bytes:
        self.counters.requests += 1
        identity = request_id(data)
        if wait := recall(self._peers, peer, lambda: TokenBucket(PEER_RATE, PEER_BURST), PEERS).take():
            return self._refuse(Refusal(id=identity, code="busy", text="too many requests", retry=wait))
        try:
            reply = self._answers.answer(decode_request(data))
        except PacketError as error:
            self.counters.malformed += 1
            return self._refuse(Refusal(id=identity, code="malformed", text=_plain(error)))
        except Unanswerable as error:
            return self._refuse(Refusal(id=identity, code="unknown", text=_plain(error)))
        except (KinetokenError, OSError) as error:
            return self._refuse(Refusal(id=identity, code="failed", text=_plain(error)))
        if isinstance(reply, ReplayReply):
            self.counters.packets += len(reply.frames)
        return encode_reply(reply)

    def _refuse(self, refusal: Refusal) -> bytes:
        self.counters.refused += 1
        return encode_reply(refusal)


def _plain(error: Exception) -> str:
    """Return an error's text as one that may stand in a message."""
    return "".join(char if char.isprintable() else " " for char in str(error))[:200]


def _open(bind: str | None, beside: str | None, security: Security) -> Socket:
    options = {
        zmq.SNDHWM: OUTSTANDING,
        zmq.MAXMSGSIZE: 16
        * MAX_REQUEST,  # what is somewhat too long gets an answer, what is far too long ends the link
        zmq.HEARTBEAT_IVL: 1000,
        zmq.HEARTBEAT_TIMEOUT: 3000,
        zmq.LINGER: 0,
    }
    if bind is not None:
        return open_socket(zmq.ROUTER, bind, options, security, allowance=ALLOWANCE)
    if beside is None:
        raise ValueError("give the control socket an address, or the publisher's")
    if not beside.startswith("tcp://"):
        return open_socket(zmq.ROUTER, f"{beside}.control", options, security, allowance=ALLOWANCE)
    host, _, port = beside.rpartition(":")
    if int(port) < 65535:
        with suppress(WireError):
            return open_socket(zmq.ROUTER, f"{host}:{int(port) + 1}", options, security, allowance=ALLOWANCE)
    return open_socket(zmq.ROUTER, f"{host}:*", options, security, allowance=ALLOWANCE)
