"""Packets and control messages to bytes and back: wire version 1, one ZeroMQ frame a message.

A frame is a topic, a NUL and one msgpack map; docs/wire.md specifies it for readers in other languages. What
comes from a socket is checked in this order: size, topic, version, types and ranges of every field, how the
fields fit together. Unknown keys are ignored, so that fields can be added without a new version.
"""

import math
import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from engine.spec import NAME

VERSION = 1

MAX_FRAME = 64 * 1024
"""Bytes of the largest frame: far above any packet, small enough that no frame can cost much memory."""

# Counters stay below 2^63, so that SQLite and languages without unsigned integers can hold them.
LARGEST = 2**63 - 1
"""The largest whole number that a message carries."""

Count = Annotated[int, Meta(ge=0, le=LARGEST)]
Nanoseconds = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Name = Annotated[str, Meta(pattern=rf"^{NAME}\Z")]
# No control characters: what a stranger says may end up on a terminal.
Text = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]*\Z")]
Epoch = Annotated[bytes, Meta(min_length=16, max_length=16)]
Size = Annotated[int, Meta(ge=1, le=65535)]
Levels = Annotated[int, Meta(ge=0, le=65535)]
Label = Annotated[str, Meta(pattern=rf"^{NAME}@[0-9a-f]{{12}}\Z")]
"""Of a tokenizer: name@first 12 hex digits of the weights hash."""
# A host is never told: it is the one by which the reader reached the producer.
ControlAddress = Annotated[str, Meta(pattern=r"^(tcp://\*:[1-9]\d{0,4}|(ipc|inproc)://[\x21-\x7e]{1,120})?\Z")]


class PacketError(ValueError):
    """A frame or message breaks the wire format; the text says how."""


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """One hop of tokens of one person, with all that is needed to decode it."""

    v: int = VERSION
    stream: Name
    track: Count
    epoch: Epoch
    """16 random bytes, new at every start of the producer."""
    seq: Count
    """Rises by one within (stream, track, epoch)."""
    frame: Count
    """Index on the fixed clock of the hop's first frame."""
    t: Nanoseconds
    """Capture time of the hop's last frame, ns of the producer's monotonic clock."""
    wall: Nanoseconds
    """The same instant in ns since 1970."""
    fps: float
    hop: Annotated[int, Meta(ge=1, le=64)]
    tokenizer: Label
    shape: tuple[Levels, Size, Size, Size]
    """Token grid [L, t, h, w]; of a predictive tokenizer the first L levels of those it has, as many as the hop took,
    perhaps none."""
    tokens: bytes
    """Ids as little-endian uint16 in C order."""
    box: Annotated[tuple[float, ...], Meta(min_length=3, max_length=4)]
    """(cx, cy, side) in px or (cx, cy, cz, side) in cm."""
    unit: Literal["px", "cm"]
    observed: Annotated[int, Meta(ge=0)]
    """Bit i set: frame i of the hop was seen, else held."""
    reset: bool
    """The state was reset before this hop."""

    def ids(self) -> NDArray[np.uint16]:
        """Return the token ids, uint16 [L, t, h, w], read-only."""
        return np.frombuffer(self.tokens, "<u2").reshape(self.shape)


class Status(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="status"):
    """A producer's sign of life, every `interval` seconds and at once when somebody subscribes."""

    v: int = VERSION
    stream: Name
    epoch: Epoch
    uptime: float
    """Seconds since the producer started."""
    people: Count
    """How many are followed now."""
    counters: Annotated[dict[Text, Count], Meta(max_length=64)]
    """What happened so far, such as {"frames": 900, "frames dropped": 3, "packets": 112}."""
    interval: float = 1.0
    """Seconds until the next status at the latest."""
    published: Count | None = None
    """Packets sent so far under this epoch, of all tracks: where whoever subscribed for this status joined."""
    control: ControlAddress = ""
    """Where the control socket is; in tcp://*:PORT, * stands for the producer's host. Empty if there is none."""
    tokenizer: Label | None = None
    """What makes the packets of this run, for readers that want to be ready before the first."""


class Goodbye(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="goodbye"):
    """The last message of a producer that ends in good order."""

    v: int = VERSION
    stream: Name
    epoch: Epoch
    reason: Text
    last: Annotated[tuple[tuple[Count, Count], ...], Meta(max_length=1000)]
    """(track, seq of its last packet) of the tracks published most recently."""
    more: bool = False
    """Another run of this stream follows at this address, as where a log of several runs is replayed."""


Control = Status | Goodbye
Message = Packet | Status | Goodbye

SLOWEST, FASTEST = 1e-3, 1e6
"""Frames a second: what lies beyond cannot be meant, and makes times that no number holds."""

T = TypeVar("T")


class _Versioned(msgspec.Struct):
    v: int


_VERSIONED = msgspec.msgpack.Decoder(_Versioned)
_PACKET = msgspec.msgpack.Decoder(Packet)
_CONTROL: msgspec.msgpack.Decoder[Control] = msgspec.msgpack.Decoder(Status | Goodbye)
_ENCODER = msgspec.msgpack.Encoder()


def check_stream_name(name: str) -> str:
    """Return `name` if it can name a stream; raise ValueError with the rule if not."""
    if not re.fullmatch(NAME, name):
        raise ValueError(
            f"{name!r} cannot name a stream: use 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit"
        )
    return name


def packet_topic(stream: str, track: int) -> bytes:
    """Return the topic of one person's packets, with its closing NUL."""
    return f"tok/{stream}/{track}\0".encode()


def control_topic(stream: str) -> bytes:
    """Return the topic of a producer's control messages, with its closing NUL."""
    return f"ctl/{stream}\0".encode()


def pack_ids(ids: NDArray[Any]) -> tuple[tuple[int, int, int, int], bytes]:
    """Return a packet's `shape` and `tokens` for integer ids [L, t, h, w] in 0..65535."""
    if ids.ndim != 4 or not np.issubdtype(ids.dtype, np.integer):
        raise PacketError(f"ids are {ids.dtype} {list(ids.shape)}, not integers [L, t, h, w]")
    if ids.size and (ids.min() < 0 or ids.max() > 0xFFFF):
        raise PacketError(f"ids run from {ids.min()} to {ids.max()}, outside 0..65535")
    levels, time, height, width = ids.shape
    return (levels, time, height, width), ids.astype("<u2").tobytes()


def encode(packet: Packet) -> bytes:
    """Return the frame of a packet. Raises PacketError for whatever `decode` would refuse."""
    frame = packet_topic(packet.stream, packet.track) + _ENCODER.encode(packet)
    decode(frame)
    return frame


def decode(frame: bytes, vocabulary: int | None = None) -> Packet:
    """Return the packet of a frame; with `vocabulary` every id must be below it. Raises PacketError."""
    topic, body = _split(frame, b"tok/")
    packet = typed(_PACKET, body)
    if topic != packet_topic(packet.stream, packet.track):
        raise PacketError(f"topic {topic!r} does not fit stream {packet.stream!r}, track {packet.track}")
    _check(packet)
    if vocabulary is not None:
        check_ids(packet, vocabulary)
    return packet


def check_ids(packet: Packet, vocabulary: int) -> None:
    """Raise PacketError unless every id of the packet is below `vocabulary`."""
    if (highest := int(packet.ids().max(initial=0))) >= vocabulary:
        raise PacketError(f"id {highest} is outside the vocabulary of {vocabulary}")


def encode_control(message: Control) -> bytes:
    """Return the frame of a control message. Raises PacketError for what `decode_control` would refuse."""
    frame = control_topic(message.stream) + _ENCODER.encode(message)
    decode_control(frame)
    return frame


def decode_control(frame: bytes) -> Control:
    """Return the control message of a frame. Raises PacketError."""
    topic, body = _split(frame, b"ctl/")
    message = typed(_CONTROL, body)
    if topic != control_topic(message.stream):
        raise PacketError(f"topic {topic!r} does not fit stream {message.stream!r}")
    if isinstance(message, Status) and not (math.isfinite(message.uptime) and message.uptime >= 0):
        raise PacketError(f"invalid uptime {message.uptime}")
    if isinstance(message, Status) and not 0 < message.interval <= 3600:
        raise PacketError(f"interval {message.interval}: above 0, at most 3600 seconds")
    return message


def decode_message(frame: bytes) -> Message:
    """Return whatever a frame holds, told by its topic. Raises PacketError."""
    return decode_control(frame) if frame.startswith(b"ctl/") else decode(frame)


def _split(frame: bytes, prefix: bytes) -> tuple[bytes, bytes]:
    if len(frame) > MAX_FRAME:
        raise PacketError(f"frame of {len(frame)} bytes, more than {MAX_FRAME}")
    topic, nul, body = frame.partition(b"\0")
    if not (nul and topic.startswith(prefix)):
        raise PacketError(f"no topic {prefix.decode()}... ended by NUL, but {frame[:16]!r}")
    return topic + nul, body


def typed(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> T:
    """Decode a map of this wire version. Raises PacketError."""
    try:
        # The version comes first: another one may mean anything by the other keys.
        version = _VERSIONED.decode(body).v
        if version != VERSION:
            raise PacketError(f"wire version {version}, this reader knows {VERSION}")
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PacketError(str(error)) from error


def _check(packet: Packet) -> None:
    sides = {"px": 3, "cm": 4}[packet.unit]
    if not SLOWEST <= packet.fps <= FASTEST:  # NaN does not lie between them either
        raise PacketError(f"invalid fps {packet.fps}")
    if len(packet.box) != sides or not all(map(math.isfinite, packet.box)) or packet.box[-1] <= 0:
        raise PacketError(f"box {list(packet.box)}: {packet.unit} needs {sides} finite numbers, the side above 0")
    if packet.observed >> packet.hop:
        raise PacketError(f"observed {packet.observed:#x} has bits beyond the hop of {packet.hop} frames")
    if len(packet.tokens) != 2 * math.prod(packet.shape):
        raise PacketError(f"{len(packet.tokens)} bytes of tokens for a grid of {list(packet.shape)}")
