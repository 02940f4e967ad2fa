"""Packets and sockets for the tests of the wire."""

from typing import Any

import numpy as np
import zmq

from stream.client import Heard, TokenStream
from stream.wire.packets import Packet, pack_ids

EPOCH = bytes(range(16))
GRID = (1, 1, 8, 8)
PATIENCE = 10.0
"""Seconds after which a test gives up waiting for what must come."""


def sample(**changes: Any) -> Packet:
    """Return a sound packet with some fields changed."""
    shape, tokens = pack_ids(np.arange(64).reshape(GRID))
    fields: dict[str, Any] = {
        "stream": "demo",
        "track": 3,
        "epoch": EPOCH,
        "seq": 7,
        "frame": 56,
        "t": 1_000_000_000,
        "wall": 1_760_000_000_000_000_000,
        "fps": 30.0,
        "hop": 8,
        "tokenizer": "heatmap2d-f8@0123456789ab",
        "shape": shape,
        "tokens": tokens,
        "box": (320.0, 240.0, 200.0),
        "unit": "px",
        "observed": 0b11110111,
        "reset": False,
    }
    return Packet(**(fields | changes))


def hop_of(**changes: Any) -> dict[str, Any]:
    """Return arguments for `Publisher.publish`."""
    fields: dict[str, Any] = {
        "track": 0,
        "frame": 0,
        "t": 0,
        "wall": 0,
        "fps": 30.0,
        "hop": 8,
        "tokenizer": "heatmap2d-f8@0123456789ab",
        "ids": np.arange(64).reshape(GRID),
        "box": (320.0, 240.0, 200.0),
        "unit": "px",
        "observed": 0xFF,
        "reset": False,
    }
    return fields | changes


class Rogue:
    """A publisher that sends whatever it is told to."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.set(zmq.LINGER, 1000)
        self._socket.bind("tcp://127.0.0.1:*")
        self.address = self._socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")

    def wait_for_subscriber(self, topic: bytes) -> None:
        """Wait until `topic` itself is subscribed to."""
        while self._socket.poll(int(PATIENCE * 1000)):
            if self._socket.recv() == b"\1" + topic:
                return
        raise AssertionError("nobody subscribed")

    def send(self, *parts: bytes) -> None:
        self._socket.send_multipart(parts)

    def __enter__(self) -> "Rogue":
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()
        self._context.term()


def next_heard(stream: TokenStream) -> Heard:
    """Return the next message, which must come."""
    heard = stream.poll(PATIENCE)
    assert heard is not None, "nothing came"
    return heard


def next_packet(stream: TokenStream) -> Packet:
    """Return the next packet, which must come; control messages before it are left out."""
    while not isinstance(message := next_heard(stream).message, Packet):
        pass
    return message
