"""Reads rows straight from the pages of a damaged SQLite file and its journal, where SQLite itself gives up.

After https://www.sqlite.org/fileformat.html: every leaf page of a table is read by itself, whatever became of the
pages that lead to it. Rows carry check sums of their own, so wrong guesses are no danger.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from stream.log.schema import TABLES, Value, checksum_ok

MAGIC = b"SQLite format 3\0"
DEFAULT_PAGE = 4096

_JOURNAL_HEADER, _FRAME_HEADER = 32, 24
_TABLE_LEAF = 0x0D
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_MOST_PAYLOAD = 1 << 20
"""Bytes that no row of ours reaches: what claims more is damage."""

# Value counts of the stored rows, the id standing in them as a NULL: no two tables have the same.
_TABLE_BY_LENGTH = {len(columns) + 2: table for table, columns in TABLES.items()}


class Unreadable(ValueError):
    """The bytes at hand are no row."""


def carve(path: Path, journal: Path) -> Iterator[tuple[str, int, tuple[Value, ...]]]:
    """Yield (table, id, stored row) of every sound row in the pages of a file and its write-ahead journal.

    A row that stands in several places comes several times. Either file may be cut off or not exist.
    """
    size = _page_size(path)
    pages: list[tuple[Path, int, int]] = []
    if path.exists():
        pages += [(path, at, 1 + at // size) for at in range(0, path.stat().st_size, size)]
    if journal.exists():
        with journal.open("rb") as file:
            for at in range(_JOURNAL_HEADER, journal.stat().st_size, _FRAME_HEADER + size):
                file.seek(at)
                if len(number := file.read(4)) == 4:
                    pages.append((journal, at + _FRAME_HEADER, int.from_bytes(number, "big")))
    places = {index: (where, at) for where, at, index in pages}  # the newest copy of each
    for where, at, index in pages:
        page = _read(where, at, size)
        start = 100 if index == 1 else 0
        if page[start : start + 1] == bytes([_TABLE_LEAF]):
            yield from _rows(page, start, size, places)


def journal_damage(journal: Path) -> str | None:
    """Say where a write-ahead journal is damaged; None for one that is whole, torn at its end or not there.

    SQLite takes the first frame whose check sum fails for the end. If whole frames of the same generation follow,
    it is not: the packets in them were committed, and opening the log would drop them without a word.
    """
    try:
        data = journal.read_bytes()
    except FileNotFoundError:
        return None
    if len(data) < _JOURNAL_HEADER + _FRAME_HEADER:
        return None
    magic, _, size, _, _, _, sum1, sum2 = struct.unpack(">8I", data[:_JOURNAL_HEADER])
    order = "<" if magic == 0x377F0682 else ">"
    state = _sums(data[:24], order, (0, 0))
    if magic not in (0x377F0682, 0x377F0683) or state != (sum1, sum2):
        return "the head of its journal is damaged"
    salts = data[16:24]
    broken: int | None = None
    for at in range(_JOURNAL_HEADER, len(data) - _FRAME_HEADER - size + 1, _FRAME_HEADER + size):
        head = data[at : at + _FRAME_HEADER]
        if broken is None:
            following = _sums(head[:8] + data[at + _FRAME_HEADER : at + _FRAME_HEADER + size], order, state)
            if head[8:16] == salts and struct.pack(">2I", *following) == head[16:24]:
                state = following
            else:
                broken = at
        # A frame with a count of pages ends a transaction.
        elif head[8:16] == salts and head[4:8] != bytes(4):
            return f"its journal is damaged at byte {broken}"
    return None


def _sums(data: bytes, order: str, state: tuple[int, int]) -> tuple[int, int]:
    first, second = state
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for x, y in zip(words[::2], words[1::2], strict=True):
        first = (first + x + second) & 0xFFFFFFFF
        second = (second + y + first) & 0xFFFFFFFF
    return first, second


def _page_size(path: Path) -> int:
    head = _read(path, 0, 18) if path.exists() else b""
    size = int.from_bytes(head[16:18], "big")
    size = 65536 if size == 1 else size
    return size if head.startswith(MAGIC) and size >= 512 and size & (size - 1) == 0 else DEFAULT_PAGE


def _read(path: Path, at: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(at)
        return file.read(size)


def _rows(
    page: bytes, start: int, size: int, places: dict[int, tuple[Path, int]]
) -> Iterator[tuple[str, int, tuple[Value, ...]]]:
    page = page.ljust(size, b"\0")
    for i in range(int.from_bytes(page[start + 3 : start + 5], "big")):
        at = start + 8 + 2 * i
        try:
            identity, payload = _cell(page, int.from_bytes(page[at : at + 2], "big"), size, places)
            values = _record(payload)
            table = _TABLE_BY_LENGTH.get(len(values))
            if table and checksum_ok(values[1:]):
                yield table, identity, values[1:]
        except (Unreadable, IndexError, UnicodeDecodeError):
            continue


def _cell(page: bytes, at: int, size: int, places: dict[int, tuple[Path, int]]) -> tuple[int, bytes]:
    """Return the id and the payload of a cell, from its overflow pages too."""
    length, at = _varint(page, at)
    identity, at = _varint(page, at)
    if length > _MOST_PAYLOAD:
        raise Unreadable
    local = length
    if length > size - 35:
        least = (size - 12) * 32 // 255 - 23
        local = least + (length - least) % (size - 4)
        local = local if local <= size - 35 else least
    payload = page[at : at + local]
    following = int.from_bytes(page[at + local : at + local + 4], "big")
    while len(payload) < length:
        if following not in places:
            raise Unreadable
        overflow = _read(*places[following], size)
        if len(overflow) < size:
            raise Unreadable
        following = int.from_bytes(overflow[:4], "big")
        payload += overflow[4 : 4 + length - len(payload)]
    return identity, payload


def _record(payload: bytes) -> tuple[Value, ...]:
    end, at = _varint(payload, 0)
    kinds: list[int] = []
    values: list[Value] = []
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    at = end
    for kind in kinds:
        length = _INTEGERS.get(kind, (kind - 12) // 2 if kind >= 12 else 0)
        content = payload[at : at + length]
        if len(content) < length or kind in (7, 10, 11):  # we store no floats
            raise Unreadable
        at += length
        if kind == 0:
            values.append(None)
        elif kind in _INTEGERS:
            values.append(int.from_bytes(content, "big", signed=True))
        elif kind in (8, 9):
            values.append(kind - 8)
        else:
            values.append(content if kind % 2 == 0 else content.decode())
    return tuple(values)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at `at` and where the next begins."""
    value = 0
    for i in range(9):
        byte = data[at + i]
        if i == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + i + 1
    raise AssertionError("nine bytes are the most")
