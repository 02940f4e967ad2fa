"""Bad bytes made of good ones, the same each time: cut, turned, mixed, and fields with values nobody expects."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import msgpack

BOMBS = [
    b"\xdd\xff\xff\xff\xff",  # an array of 2^32 - 1 items
    b"\xdf\xff\xff\xff\xff",  # a map
    b"\xc6\xff\xff\xff\xff",  # bytes
    b"\xdb\xff\xff\xff\xff",  # text
    b"\xc9\xff\xff\xff\xff\x01",  # an extension
    b"\x91" * 2000,
    b"\x81\xa1v" * 2000,
    b"\xdc\xff\xff" + b"\x90" * 65535,
]

VALUES: list[Any] = [
    *(0, 1, -1, 255, 256, 2**31, 2**32, 2**63 - 1, -(2**63), 2**64 - 1),
    *(0.0, -0.0, 1e308, 5e-324, float("nan"), float("inf"), float("-inf")),
    *(None, True, False, "", "x" * 300, "\0", "../../etc/passwd", "a/b", "\x1b[2J", "é" * 70, b"", b"\0" * 16),
    *([], {}, [[]] * 50, {"v": 1}, [1, 2, 3, 4], [0, 0, 0, 0], [65535] * 4, [float("nan")] * 3, [2**63 - 1] * 4),
]


def mutants(good: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Yield mutants of these frames without end. A frame is a msgpack map, perhaps with a topic and a NUL before."""
    chance = random.Random(seed)
    ways = [_turn, _write, _cut, _insert, _remove, _repeat, _bomb, _noise, _field, _field]
    while True:
        frame = chance.choice(good)
        for _ in range(chance.choice((1, 1, 1, 2, 5))):
            frame = _splice(chance, frame, chance.choice(good)) if chance.random() < 0.1 else frame
            frame = chance.choice(ways)(chance, frame)
        yield frame


def _place(chance: random.Random, frame: bytes) -> int:
    return chance.randrange(len(frame)) if frame else 0


def _turn(chance: random.Random, frame: bytes) -> bytes:
    changed = bytearray(frame)
    if changed:
        changed[_place(chance, frame)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _write(chance: random.Random, frame: bytes) -> bytes:
    at = _place(chance, frame)
    return frame[:at] + bytes([chance.randrange(256)]) + frame[at + 1 :]


def _cut(chance: random.Random, frame: bytes) -> bytes:
    return frame[: _place(chance, frame)]


def _insert(chance: random.Random, frame: bytes) -> bytes:
    at = _place(chance, frame)
    return frame[:at] + chance.randbytes(chance.randrange(1, 9)) + frame[at:]


def _remove(chance: random.Random, frame: bytes) -> bytes:
    at = _place(chance, frame)
    return frame[:at] + frame[at + chance.randrange(1, 9) :]


def _repeat(chance: random.Random, frame: bytes) -> bytes:
    at = _place(chance, frame)
    end = at + chance.randrange(1, 64)
    return frame[:end] + frame[at:]


def _bomb(chance: random.Random, frame: bytes) -> bytes:
    at = frame.find(b"\0") + 1 if chance.random() < 0.5 else _place(chance, frame)
    return frame[:at] + chance.choice(BOMBS) + frame[at:]


def _noise(chance: random.Random, frame: bytes) -> bytes:
    at = _place(chance, frame)
    return frame[:at] + chance.randbytes(chance.randrange(400))


def _splice(chance: random.Random, frame: bytes, other: bytes) -> bytes:
    return frame[: _place(chance, frame)] + other[_place(chance, other) :]


def _field(chance: random.Random, frame: bytes) -> bytes:
    """Change, add or leave out a field; a frame that is no map any more stays as it is."""
    topic, nul, body = _parts(frame)
    try:
        fields = msgpack.unpackb(body, strict_map_key=False)
    except (ValueError, TypeError, RecursionError):  # TypeError: a list as a key
        return frame
    if not isinstance(fields, dict) or not fields:
        return frame
    name = chance.choice(list(fields))
    if chance.random() < 0.1:
        del fields[name]
    elif chance.random() < 0.3 and isinstance(fields[name], int):
        fields[name] = max(-(2**63), min(fields[name] + chance.randrange(-3, 2000), 2**64 - 1))
    else:
        fields[name] = chance.choice(VALUES)
    try:
        body = bytes(msgpack.packb(fields))
    except (ValueError, TypeError, OverflowError):  # surrogates, keys that are lists
        return frame
    return topic + nul + body


def _parts(frame: bytes) -> tuple[bytes, bytes, bytes]:
    """Return topic, NUL and map of a frame that has a topic; else the first two are empty."""
    if frame[:4] in (b"tok/", b"ctl/"):
        topic, nul, body = frame.partition(b"\0")
        return topic, nul, body
    return b"", b"", frame
