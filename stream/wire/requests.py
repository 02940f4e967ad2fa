"""Requests to a producer's control socket and its replies, to bytes and back: one msgpack map each.

docs/wire.md specifies them for readers in other languages. A reply has the `type` and the `id` of its request, or the
type `error`. As on the wire of packets, unknown keys are ignored and another version is refused by name.
"""

import math
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from stream.wire.packets import VERSION, Count, Epoch, Label, Name, Nanoseconds, PacketError, Text, typed

MAX_REQUEST = 1024
"""Bytes of the largest request."""

MAX_REPLY = 512 * 1024
"""Bytes of the largest reply."""

CHUNK = 256 * 1024
"""Bytes of a file, or of packets, in one reply."""

FRAMES = 64
"""Packets in one reply."""

TRACKS = 1000
"""Tracks in one reply."""

EPOCHS = 100
"""Epochs in one reply, the newest ones."""

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Code = Literal["malformed", "unknown", "busy", "failed"]


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    v: int = VERSION
    id: Count
    """Chosen by the asker; the reply has it too."""


class Ping(_Message, frozen=True, kw_only=True, tag="ping"):
    """Asks for the producer's clocks."""

    t: Nanoseconds
    """The asker's monotonic clock, ns."""


class Info(_Message, frozen=True, kw_only=True, tag="info"):
    """Asks what there is."""


class Snapshot(_Message, frozen=True, kw_only=True, tag="snapshot"):
    """Asks where every track of a stream is."""

    stream: Name
    epoch: Epoch | None = None
    """The running one, unless another is named."""
    track: Count = 0
    """The lowest to tell of."""
    at: Count | None = None
    """After how many packets of the running epoch, as a status told them; None: now."""


class Replay(_Message, frozen=True, kw_only=True, tag="replay"):
    """Asks for packets of one track again, from seq `first` to `last`."""

    stream: Name
    track: Count
    epoch: Epoch
    first: Count
    last: Count


class Files(_Message, frozen=True, kw_only=True, tag="files"):
    """Asks which files a tokenizer has."""

    tokenizer: Label


class Chunk(_Message, frozen=True, kw_only=True, tag="chunk"):
    """Asks for a piece of one of these files."""

    tokenizer: Label
    file: Name
    offset: Count


class SetRate(_Message, frozen=True, kw_only=True, tag="rate"):
    """Asks for another rate of a predictive tokenizer's tokens from now on; both nil: all levels of every hop."""

    stream: Name
    levels: Annotated[int, Meta(ge=1, le=65535)] | None = None
    """Most levels of a hop."""
    quality: float | None = None
    """Mean joint error, px or cm, that is good enough: no more levels than bring it about."""


class Pong(_Message, frozen=True, kw_only=True, tag="ping"):
    """The producer's monotonic clock when the request came and when this left, ns; its wall clock then, ns."""

    t: Nanoseconds
    """As in the request."""
    received: Nanoseconds
    sent: Nanoseconds
    wall: Nanoseconds


class StreamInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One stream of the producer."""

    stream: Name
    epoch: Epoch
    epochs: Annotated[tuple[Epoch, ...], Meta(max_length=EPOCHS)]
    """All of which packets can be had, oldest first; the running one is the last."""
    uptime: float
    """Seconds since the producer started."""
    tokenizer: Label | None
    """None, with fps and hop 0, before the first packet."""
    fps: float
    hop: Count
    tracks: Count
    """How many tracks there were lately."""
    packets: Count
    """How many packets are in memory, to be had again."""
    span: float
    """Seconds since the oldest of them was sent."""
    log: bool
    """Whether older ones come from the producer's log."""


class InfoReply(_Message, frozen=True, kw_only=True, tag="info"):
    """What there is."""

    streams: Annotated[tuple[StreamInfo, ...], Meta(max_length=64)]


class SnapshotReply(_Message, frozen=True, kw_only=True, tag="snapshot"):
    """Where every track is."""

    stream: Name
    epoch: Epoch
    tracks: Annotated[tuple[tuple[Count, Count, Count], ...], Meta(max_length=TRACKS)]
    """(track, seq of its last packet, seq of the last with `reset`), by track; of an earlier epoch the third is 0."""
    more: bool
    """Whether there are tracks beyond these."""


class ReplayReply(_Message, frozen=True, kw_only=True, tag="replay"):
    """Packets from `first` on up to, not including, `next`; as many as go into one reply."""

    stream: Name
    track: Count
    epoch: Epoch
    first: Count
    next: Count
    """Where to go on; at most one beyond the track's newest packet."""
    frames: Annotated[tuple[bytes, ...], Meta(max_length=FRAMES)]
    """As they were published, in the order of seq."""
    missing: Annotated[tuple[tuple[Count, Count], ...], Meta(max_length=FRAMES + 1)]
    """Ranges [first, last] of those that can no longer be had."""


class FileInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a tokenizer."""

    name: Name
    size: Count
    sha256: Sha256


class FilesReply(_Message, frozen=True, kw_only=True, tag="files"):
    """The files of a tokenizer."""

    tokenizer: Label
    files: Annotated[tuple[FileInfo, ...], Meta(max_length=16)]


class ChunkReply(_Message, frozen=True, kw_only=True, tag="chunk"):
    """A piece of a file; empty at its end."""

    tokenizer: Label
    file: Name
    offset: Count
    data: Annotated[bytes, Meta(max_length=CHUNK)]


class RateReply(_Message, frozen=True, kw_only=True, tag="rate"):
    """The rate that holds now."""

    stream: Name
    levels: Annotated[int, Meta(ge=1, le=65535)] | None
    quality: float | None


class Refusal(_Message, frozen=True, kw_only=True, tag="error"):
    """Why a request is not answered."""

    code: Code
    text: Text
    retry: float = 0.0
    """Seconds after which it may be asked again; 0: in vain."""


Request = Ping | Info | Snapshot | Replay | Files | Chunk | SetRate
Reply = Pong | InfoReply | SnapshotReply | ReplayReply | FilesReply | ChunkReply | RateReply | Refusal

_REQUEST: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_REPLY: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)
_ENCODER = msgspec.msgpack.Encoder()


class _Identified(msgspec.Struct):
    id: Count


_IDENTIFIED = msgspec.msgpack.Decoder(_Identified)


def encode_request(request: Request) -> bytes:
    """Return a request's bytes. Raises PacketError for whatever `decode_request` would refuse."""
    data = _ENCODER.encode(request)
    decode_request(data)
    return data


def decode_request(data: bytes) -> Request:
    """Return the request. Raises PacketError."""
    if len(data) > MAX_REQUEST:
        raise PacketError(f"request of {len(data)} bytes, more than {MAX_REQUEST}")
    request = typed(_REQUEST, data)
    if isinstance(request, Replay) and request.last < request.first:
        raise PacketError(f"replay from {request.first} to {request.last}")
    if isinstance(request, SetRate) and request.quality is not None:
        _check_numbers(request.quality)
    return request


def request_id(data: bytes) -> int:
    """Return the id of a request that may be refused otherwise, 0 if it has none."""
    try:
        return _IDENTIFIED.decode(data[:MAX_REQUEST]).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0


def encode_reply(reply: Reply) -> bytes:
    """Return a reply's bytes."""
    return _ENCODER.encode(reply)


def decode_reply(data: bytes) -> Reply:
    """Return the reply. Raises PacketError."""
    if len(data) > MAX_REPLY:
        raise PacketError(f"reply of {len(data)} bytes, more than {MAX_REPLY}")
    reply = typed(_REPLY, data)
    if isinstance(reply, InfoReply):
        for about in reply.streams:
            _check_numbers(about.uptime, about.fps, about.span)
    elif isinstance(reply, Refusal):
        _check_numbers(reply.retry)
    elif isinstance(reply, RateReply) and reply.quality is not None:
        _check_numbers(reply.quality)
    elif isinstance(reply, ReplayReply):
        _check_ranges(reply)
    return reply


def _check_numbers(*numbers: float) -> None:
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise PacketError(f"{list(numbers)}: numbers of 0 or more are due here")


def _check_ranges(reply: ReplayReply) -> None:
    """Raise PacketError unless the missing ranges lie in order between first and next."""
    place = reply.first
    for first, last in reply.missing:
        if not place <= first <= last < reply.next:
            raise PacketError(f"missing {first} to {last} within {reply.first} to {reply.next}")
        place = last + 1
