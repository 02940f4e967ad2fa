"""ZMTP 3.0 by hand, without keys: a peer that may say what libzmq never would. Frames as in RFC 23 of ZeroMQ."""

import socket
import struct
from typing import Self

PATIENCE = 30.0

_GREETING = b"\xff" + 8 * b"\0" + b"\x7f\x03\0NULL" + 16 * b"\0"
_GREETING += (64 - len(_GREETING)) * b"\0"


def part(data: bytes, more: bool = False, command: bool = False) -> bytes:
    """Return one frame as it is on the wire."""
    flags = more | command << 2
    if len(data) < 256:
        return struct.pack("!BB", flags, len(data)) + data
    return struct.pack("!BQ", flags | 2, len(data)) + data


PING = part(b"\x04PING\0\0", command=True)
"""Asks for a PONG, and names no time to live."""


class Peer:
    """A shaken TCP link. kind: the socket type that it claims to be."""

    def __init__(self, link: socket.socket, kind: str) -> None:
        self.link = link
        link.settimeout(PATIENCE)
        link.sendall(_GREETING)
        self._exactly(64)
        ready = b"\x05READY\x0bSocket-Type" + struct.pack("!I", len(kind)) + kind.encode()
        link.sendall(part(ready, command=True))
        flags, size = self._exactly(2)
        self._exactly(struct.unpack("!Q", bytes([size]) + self._exactly(7))[0] if flags & 2 else size)

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.link.sendall(data)

    def flood(self, chunk: bytes, limit: int) -> int:
        """Send a chunk again and again, up to `limit` bytes; return how many were taken before the link was cut."""
        sent = 0
        try:
            while sent < limit:
                self.link.sendall(chunk)
                sent += len(chunk)
        except OSError:  # cut, or nothing is taken any more
            pass
        return sent

    def reset(self) -> None:
        """End the link with an RST, as a killed process with unread data does."""
        self.link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.link.close()

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.link.recv(size - len(data))
            if not more:
                raise ConnectionError("closed while shaking hands")
            data += more
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.link.close()


def reach(address: str, kind: str) -> Peer:
    """Connect to a tcp:// address as a socket of `kind`."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return Peer(socket.create_connection((host.strip("[]"), int(port)), PATIENCE), kind)


class Listener:
    """A TCP port at which whoever connects meets a peer of our making."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(PATIENCE)
        self.address = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"

    def accept(self, kind: str) -> Peer:
        """Return the next link."""
        return Peer(self._server.accept()[0], kind)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.close()
