"""Folders of keys, and readers of every kind that knock at a producer's two sockets: only the listed may hear."""

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import zmq
from zmq.utils.monitor import recv_monitor_message

from stream.wire.keyring import Keyring
from stream.wire.packets import Packet, PacketError, decode
from stream.wire.requests import Ping, decode_reply, encode_request

READERS = ("listed", "unlisted", "wrong server key", "plain")
SOCKETS = {"stream": zmq.SUB, "control": zmq.DEALER}

PATIENCE = 20.0
"""Seconds after which what must come is given up."""

TRIES = 3
"""Failed handshakes after which a stranger has been refused for sure."""

_FAILED = {zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL}


class Folders:
    """The keys of a producer, of a reader that it lists and of one that it does not; both readers know the producer."""

    def __init__(self, root: Path) -> None:
        self.producer, self.listed, self.unlisted = (
            Keyring(root / name) for name in ("producer", "listed", "unlisted")
        )
        for keyring in (self.producer, self.listed, self.unlisted):
            keyring.create(keyring.folder.name)
        self.producer.allow(str(self.listed.folder / "listed.key"))
        for reader in (self.listed, self.unlisted):
            reader.allow(str(self.producer.folder / "producer.key"))


class Visitor:
    """A bare ZeroMQ socket that comes to an address with the keys of one of `READERS`, and counts what it hears.

    From the stream it hears packets, from the control socket answers to `ask`.
    """

    def __init__(self, address: str, kind: int, reader: str, folders: Folders) -> None:
        self.heard: list[int] = []
        """The seqs of packets of track 0, or the numbers of answers."""
        self.failures = 0
        self.let_in = False
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(kind)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.RECONNECT_IVL, 20)
        self._socket.set(zmq.IPV6, 1)
        if reader != "plain":
            own = (folders.unlisted if reader == "unlisted" else folders.listed).identity()
            server = folders.unlisted if reader == "wrong server key" else folders.producer
            self._socket.set(zmq.CURVE_PUBLICKEY, own.public)
            self._socket.set(zmq.CURVE_SECRETKEY, own.secret)
            self._socket.set(zmq.CURVE_SERVERKEY, server.identity().public)
        if kind == zmq.SUB:
            self._socket.subscribe(b"")
        self._monitor = self._socket.get_monitor_socket()
        self._gone = False
        self._address = address
        self._asked = 0
        self._socket.connect(address)

    def ask(self) -> None:
        """Ask the control socket, if this is it; whoever is let in waits for the answer to the last question first."""
        if self._socket.type == zmq.SUB or (self.let_in and self._asked > len(self.heard)):
            return
        self._asked += 1
        with suppress(zmq.Again):
            self._socket.send(encode_request(Ping(id=self._asked, t=0)), zmq.NOBLOCK)

    def look(self) -> Self:
        """Take in what has come; return itself."""
        with suppress(zmq.Again):
            while True:
                self._take(self._socket.recv_multipart(zmq.NOBLOCK))
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)["event"]
            self.failures += event in _FAILED
            self.let_in |= event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            # libzmq gives up after some refusals; a burglar would not.
            self._gone = event == zmq.EVENT_DISCONNECTED
        if self._gone and self.failures < TRIES:
            self._socket.disconnect(self._address)
            self._socket.connect(self._address)
            self._gone = False
        return self

    def _take(self, parts: list[bytes]) -> None:
        if self._socket.type == zmq.DEALER:
            decode_reply(parts[-1])
            self.heard.append(len(self.heard))
            return
        with suppress(PacketError):
            packet = decode(parts[0])
            assert isinstance(packet, Packet)
            if packet.track == 0:
                self.heard.append(packet.seq)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close()
        self._context.term()


@dataclass(frozen=True)
class Seen:
    """What became of one visitor: messages heard, holes between them, failed handshakes, whether one succeeded."""

    heard: int
    holes: int
    failures: int
    let_in: bool


@dataclass
class Matrix:
    """Every kind of reader at both sockets, at once; by (socket, reader)."""

    cells: dict[tuple[str, str], Seen] = field(default_factory=dict)

    def run(
        self, addresses: dict[str, str], folders: Folders, messages: int, publish: Callable[[], object] = lambda: None
    ) -> Self:
        """Let all come, until the listed have heard `messages` each since the strangers were refused.

        addresses: of the `stream` and the `control` socket. publish: called again and again, if the producer needs it.
        """
        with ExitStack() as resources:
            visitors = {
                (place, reader): resources.enter_context(Visitor(addresses[place], kind, reader, folders))
                for place, kind in SOCKETS.items()
                for reader in READERS
            }
            strangers = [visitor for (_, reader), visitor in visitors.items() if reader != "listed"]
            listed = [visitor for (_, reader), visitor in visitors.items() if reader == "listed"]
            deadline = time.monotonic() + PATIENCE
            before: list[int] | None = None
            while time.monotonic() < deadline:
                publish()
                for visitor in visitors.values():
                    visitor.look()
                for reader in READERS:
                    visitors["control", reader].ask()
                if before is None and all(stranger.failures >= TRIES for stranger in strangers):
                    before = [len(visitor.heard) for visitor in listed]
                if before and all(
                    len(visitor.heard) >= count + messages for visitor, count in zip(listed, before, strict=True)
                ):
                    break
                time.sleep(0.002)
            self.cells = {place: _seen(visitor) for place, visitor in visitors.items()}
        return self


def _seen(visitor: Visitor) -> Seen:
    heard = visitor.heard
    holes = max(heard) - min(heard) + 1 - len(set(heard)) if heard else 0
    return Seen(len(heard), holes, visitor.failures, visitor.let_in)
