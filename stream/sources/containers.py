"""Whether a video file was cut off, by what its container says of its own length.

A number of frames or a duration is often a guess of the reader or counts the sound too. Sizes are not: boxes of MP4,
chunks of RIFF, elements of Matroska, pages of Ogg, packets of MPEG, frames of DV and the header of ASF say how many
bytes follow. Where they reach beyond the end of the file, the file is not whole.
"""

import os
import struct
from collections.abc import Callable, Iterator
from typing import IO

EBML_HEADER, SEGMENT = 0x1A45DFA3, 0x18538067
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
TAIL = 128 * 1024
"""Bytes at the end of a file among which the last page of an Ogg begins, or the last pack of an MPEG: a page has 65,307
at most, and so has a packet in a pack."""

HEAD = 2048
"""Bytes by which a form is told."""

TS_PACKETS = ((188, 0), (192, 4), (204, 0))
"""Bytes of a packet of a transport stream, and where in it the sync byte stands: plain, with times, with parity."""

TS_SYNC, TS_ROW = 0x47, 4
"""The sync byte, and how many in a row make a stream sure."""

PAL_FRAME, NTSC_FRAME = 144_000, 120_000
"""Bytes of a DV frame; of the richer kinds a multiple."""


def is_cut_off(file: IO[bytes]) -> bool:
    """Whether the container promises more bytes than the file has. False where it promises nothing."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(HEAD)
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


def _ts(file: IO[bytes], size: int) -> bool:
    """Look whether the last packet (ISO/IEC 13818-1, 2.4.3) is whole. Where the tail is damaged nobody knows."""
    file.seek(0)
    packet, sync = next(_ts_forms(file.read(HEAD)))
    file.seek(max(0, size - packet * (TS_ROW + 2)))
    tail = file.read()
    for left in range(packet):
        places = [len(tail) - left - packet * count + sync for count in range(1, TS_ROW + 1)]
        if min(places) >= 0 and all(tail[place] == TS_SYNC for place in places):
            return left > 0
    return False


def _ts_forms(head: bytes) -> Iterator[tuple[int, int]]:
    """Yield what the packets of a transport stream may be like; it may begin in the middle of one."""
    for packet, sync in TS_PACKETS:
        for begin in range(packet):
            row = head[begin + sync :: packet][:TS_ROW]
            if row == bytes([TS_SYNC]) * TS_ROW:
                yield packet, sync


def _mpeg(file: IO[bytes], size: int) -> bool:
    """Walk over the packets of the last pack of a program stream (ISO/IEC 13818-1, 2.5; 11172-1, 2.4)."""
    begin = max(0, size - TAIL)
    file.seek(begin)
    tail = file.read()
    place = tail.rfind(b"\0\0\1\xba")
    if place < 0:
        return False
    place += 12 if tail[place + 4] >> 4 == 2 else 14 + (tail[place + 13] & 7)
    while place + 6 <= len(tail) and tail[place : place + 3] == b"\0\0\1" and tail[place + 3] > 0xBA:
        place += 6 + int(struct.unpack_from(">H", tail, place + 4)[0])
    return place > len(tail) or 0 < len(tail) - place < 4


def _dv(file: IO[bytes], size: int) -> bool:
    """Count whole frames (IEC 61834-2): bit 7 of the fourth byte tells of which system."""
    file.seek(3)
    return size % (PAL_FRAME if file.read(1)[0] & 0x80 else NTSC_FRAME) > 0


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
    (lambda head: head.startswith(b"\0\0\1\xba"), _mpeg),
    (lambda head: head.startswith(b"\x1f\7\0"), _dv),
    (lambda head: any(_ts_forms(head)), _ts),
)
