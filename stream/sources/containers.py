"""Whether a video file was cut off, by what its container says of its own length.

A number of frames or a duration is often a guess of the reader or counts the sound too. Sizes are not: boxes of MP4,
chunks of RIFF, elements of Matroska, pages of Ogg and the header of ASF say how many bytes follow. Where they reach
beyond the end of the file, the file is not whole.
"""

import os
import struct
from collections.abc import Callable
from typing import IO

EBML_HEADER, SEGMENT = 0x1A45DFA3, 0x18538067
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
TAIL = 128 * 1024
"""Bytes at the end of a file among which the last page of an Ogg begins: one has 65,307 at most."""


def is_cut_off(file: IO[bytes]) -> bool:
    """Whether the container promises more bytes than the file has. False where it promises nothing."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(16)
    file.seek(0)
    for begins, check in _FORMS:
        if begins(head):
            try:
                return check(file, size)
            except (struct.error, IndexError):  # it ends within a header
                return True
    return False


def _mp4(file: IO[bytes], size: int) -> bool:
    """Walk over the boxes of the top level (ISO/IEC 14496-12, 4.2)."""
    place = 0
    while place < size:
        file.seek(place)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
        if length == 0 or not kind.isascii():  # up to the end; or no box: padding behind the last one
            return False
        place += max(length, 8)
    return place > size


def _riff(file: IO[bytes], size: int) -> bool:
    """Walk over the RIFF chunks: AVI has one, of more than a gigabyte several (OpenDML)."""
    place = 0
    while place + 8 <= size:
        file.seek(place)
        kind, length = struct.unpack("<4sI", file.read(8))
        if kind != b"RIFF" or length in (0, 0xFFFFFFFF):  # written while it was recorded, and never finished
            return False
        place += 8 + length + length % 2
    return place > size + 1  # some writers leave out the last padding byte


def _matroska(file: IO[bytes], size: int) -> bool:
    """Walk over the elements of the top level (RFC 8794): a header, a segment."""
    place = 0
    while place < size:
        file.seek(place)
        kind, _ = _vint(file, keep_marker=True)
        length, unknown = _vint(file, keep_marker=False)
        if unknown:  # a live recording
            return False
        place = file.tell() + length
        if kind not in (EBML_HEADER, SEGMENT):
            return False
    return place > size


def _vint(file: IO[bytes], keep_marker: bool) -> tuple[int, bool]:
    """Return a number of variable length, and whether all its bits are set: an unknown size."""
    first = file.read(1)[0]
    more = 8 - first.bit_length()
    value = first if keep_marker else first & (0x7F >> more)
    rest = file.read(more)
    if len(rest) < more:
        raise IndexError
    for byte in rest:
        value = value << 8 | byte
    return value, value == (1 << 7 * (more + 1)) - 1


def _ogg(file: IO[bytes], size: int) -> bool:
    """Measure the last page (RFC 3533, 6)."""
    file.seek(max(0, size - TAIL))
    tail = file.read()
    if (place := tail.rfind(b"OggS\0")) < 0:
        return True
    segments = tail[place + 26]
    return place + 27 + segments + sum(tail[place + 27 : place + 27 + segments]) > len(tail)


def _asf(file: IO[bytes], size: int) -> bool:
    """Read the file's size off the File Properties Object (ASF specification, 3.2)."""
    header = file.read(64 * 1024)
    if (place := header.find(ASF_FILE_PROPERTIES)) < 0:
        return False
    (promised,) = struct.unpack_from("<Q", header, place + 40)
    (flags,) = struct.unpack_from("<I", header, place + 88)
    return not flags & 1 and bool(promised > size)  # bit 0: a broadcast, of which no number holds


_FORMS: tuple[tuple[Callable[[bytes], bool], Callable[[IO[bytes], int], bool]], ...] = (
    (lambda head: head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"styp"), _mp4),
    (lambda head: head.startswith(b"RIFF"), _riff),
    (lambda head: head.startswith(bytes.fromhex("1a45dfa3")), _matroska),
    (lambda head: head.startswith(b"OggS"), _ogg),
    (lambda head: head.startswith(ASF_HEADER), _asf),
)
