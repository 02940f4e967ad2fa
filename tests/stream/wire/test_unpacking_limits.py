"""Small messages that would unpack to very much: refused or skipped, at the cost of their own size."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from stream.wire.packets import MAX_FRAME, PacketError, decode, decode_control, encode
from stream.wire.requests import MAX_REPLY, MAX_REQUEST, decode_reply, decode_request
from wire_samples import EPOCH, sample

ABOUT = {"v": 1, "stream": "demo", "epoch": EPOCH}
REPLY = {"v": 1, "id": 1, "stream": "demo", "epoch": EPOCH}

MESSAGES: dict[str, tuple[Callable[[bytes], object], int, bytes, dict[str, Any]]] = {
    "packet": (decode, MAX_FRAME, b"tok/demo/3\0", msgpack.unpackb(encode(sample()).partition(b"\0")[2])),
    "status": (
        decode_control,
        MAX_FRAME,
        b"ctl/demo\0",
        {**ABOUT, "type": "status", "uptime": 1.0, "people": 1, "counters": {}},
    ),
    "goodbye": (decode_control, MAX_FRAME, b"ctl/demo\0", {**ABOUT, "type": "goodbye", "reason": "end", "last": []}),
    "request": (decode_request, MAX_REQUEST, b"", {"v": 1, "id": 1, "type": "info"}),
    "info": (decode_reply, MAX_REPLY, b"", {"v": 1, "id": 1, "type": "info", "streams": []}),
    "snapshot": (decode_reply, MAX_REPLY, b"", {**REPLY, "type": "snapshot", "tracks": [], "more": False}),
    "replay": (
        decode_reply,
        MAX_REPLY,
        b"",
        {**REPLY, "type": "replay", "track": 0, "first": 0, "next": 0, "frames": [], "missing": []},
    ),
    "files": (
        decode_reply,
        MAX_REPLY,
        b"",
        {"v": 1, "id": 1, "type": "files", "tokenizer": "x@" + "0" * 12, "files": []},
    ),
}

FILLINGS = {
    "arrays": b"\x90",
    "maps": b"\x80",
    "numbers": b"\x01",
    "pairs": b"\x92\x01\x01",
    "triples": b"\x93\x01\x01\x01",
}


def map_of(fields: dict[str, Any], key: str, value: bytes) -> bytes:
    """Return a msgpack map of these fields and one more, whose value is packed already."""
    count = len(fields) + (key not in fields)
    packed: bytes = b"".join(msgpack.packb(name) + msgpack.packb(each) for name, each in fields.items() if name != key)
    key_packed: bytes = msgpack.packb(key)
    return b"\xde" + count.to_bytes(2, "big") + packed + key_packed + value


def cost(read: Callable[[bytes], object], data: bytes) -> int:
    """Return the bytes of memory that reading took at most, whether the message was refused or not."""
    tracemalloc.start()
    try:
        read(data)
    except PacketError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


@pytest.mark.parametrize("filling", FILLINGS)
@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_costs_little_more_than_its_size(message: str, filling: str) -> None:
    read, limit, topic, fields = MESSAGES[message]
    read(topic + msgpack.packb(fields))  # as such it is sound
    unit = FILLINGS[filling]
    count = (limit - 700) // len(unit)
    bomb = b"\xdd" + count.to_bytes(4, "big") + unit * count
    for key in ["unknown", *fields]:
        data = topic + map_of(fields, key, bomb)
        assert len(data) <= limit
        assert cost(read, data) < 3 * limit + 20_000, key


@pytest.mark.parametrize("message", MESSAGES)
def test_depth_and_false_sizes_are_refused(message: str) -> None:
    read, limit, topic, fields = MESSAGES[message]
    huge = (2**32 - 1).to_bytes(4, "big")
    for value in [
        b"\x91" * (limit - 700) + b"\x90",
        *(code + huge for code in (b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9")),
    ]:
        data = topic + map_of(fields, "unknown", value)
        assert cost(read, data) < 2 * limit + 20_000
        if message != "request" or value[:1] != b"\x91":  # a request is too short to be too deep
            with pytest.raises(PacketError):
                read(data)
