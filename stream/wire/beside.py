"""What a producer may send beside its tokens, for whoever subscribes to it: its own joints, and small pictures.

Neither is numbered, kept or sent again. Both are looked at as strictly as packets are: see `decode_beside`.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from stream.motion.skeleton import Array, J, Pose
from stream.wire.packets import MAX_FRAME, VERSION, Count, Epoch, Name, Nanoseconds, PacketError, typed

MOST_PEOPLE = 256
"""People in one message: with 17 joints each they fit in a frame."""

FARTHEST = 1e6
"""px or cm from the origin: 10 km. Nothing that a source sees is farther."""

LARGEST_PICTURE = 60_000
"""Bytes of a JPEG."""

LONGEST_SIDE = 1280
"""px of a JPEG: what unpacks to more is refused before a decoder sees it."""

_AXES = {"px": 2, "cm": 3}

Side = Annotated[int, Meta(ge=1, le=65535)]


class JointsBeside(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="joints"):
    """The people of one frame of the source, as they went into the tokenizer."""

    v: int = VERSION
    stream: Name
    epoch: Epoch
    t: Nanoseconds
    """When the frame was captured, ns of the producer's monotonic clock."""
    unit: Literal["px", "cm"]
    tracks: Annotated[tuple[Count, ...], Meta(max_length=MOST_PEOPLE)]
    """The people, by id, rising."""
    joints: bytes
    """float32, little-endian, [people, 17, D]."""
    confidence: bytes
    """uint8 [people, 17]: 255 is certain."""

    def people(self) -> dict[int, tuple[Array, Array]]:
        """Return joints [17, D] and confidence [17] in 0..1 by track."""
        count = len(self.tracks)
        joints = np.frombuffer(self.joints, "<f4").reshape(count, J, _AXES[self.unit])
        confidence = np.frombuffer(self.confidence, np.uint8).reshape(count, J) / np.float32(255)
        return {track: (joints[i], confidence[i]) for i, track in enumerate(self.tracks)}


class PictureBeside(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="picture"):
    """One image of the source, made small."""

    v: int = VERSION
    stream: Name
    epoch: Epoch
    t: Nanoseconds
    """When the image was captured, ns of the producer's monotonic clock."""
    width: Side
    """px of the image before it was made small: joints in px are in these coordinates."""
    height: Side
    jpeg: Annotated[bytes, Meta(max_length=LARGEST_PICTURE)]


Beside = JointsBeside | PictureBeside

_TOPICS: dict[type[Beside], str] = {JointsBeside: "pose", PictureBeside: "pic"}
_BESIDE: msgspec.msgpack.Decoder[Beside] = msgspec.msgpack.Decoder(JointsBeside | PictureBeside)
_ENCODER = msgspec.msgpack.Encoder()


def topic_of(kind: type[Beside], stream: str | None = None) -> bytes:
    """Return the topic of one stream's messages, with its closing NUL; without a name the prefix of all streams."""
    return f"{_TOPICS[kind]}/".encode() if stream is None else f"{_TOPICS[kind]}/{stream}\0".encode()


def joints_message(
    stream: str, epoch: bytes, t: int, unit: Literal["px", "cm"], people: Mapping[int, Pose]
) -> JointsBeside:
    """Return a message of people by track, the first `MOST_PEOPLE` of them by id."""
    tracks = sorted(people)[:MOST_PEOPLE]
    joints = [np.nan_to_num(people[track].joints).clip(-FARTHEST, FARTHEST) for track in tracks]
    sure = [np.round(np.nan_to_num(people[track].confidence).clip(0, 1) * 255) for track in tracks]
    return JointsBeside(
        stream=stream,
        epoch=epoch,
        t=t,
        unit=unit,
        tracks=tuple(tracks),
        joints=b"".join(each.astype("<f4").tobytes() for each in joints),
        confidence=b"".join(each.astype(np.uint8).tobytes() for each in sure),
    )


def encode_beside(message: Beside) -> bytes:
    """Return the frame of a message. Raises PacketError for what `decode_beside` would refuse."""
    frame = topic_of(type(message), message.stream) + _ENCODER.encode(message)
    decode_beside(frame)
    return frame


def decode_beside(frame: bytes) -> Beside:
    """Return the message of a frame. Raises PacketError."""
    if len(frame) > MAX_FRAME:
        raise PacketError(f"frame of {len(frame)} bytes, more than {MAX_FRAME}")
    topic, _, body = frame.partition(b"\0")
    message = typed(_BESIDE, body)
    if topic + b"\0" != topic_of(type(message), message.stream):
        raise PacketError(f"topic {topic[:80]!r} does not fit {message.stream!r}")
    if isinstance(message, JointsBeside):
        _check_joints(message)
    elif (size := jpeg_size(message.jpeg)) is None or max(size) > LONGEST_SIDE or min(size) < 1:
        raise PacketError(f"not a JPEG of 1 to {LONGEST_SIDE} px a side")
    return message


def _check_joints(message: JointsBeside) -> None:
    count, axes = len(message.tracks), _AXES[message.unit]
    if list(message.tracks) != sorted(set(message.tracks)):
        raise PacketError("people are not in the order of their ids")
    if len(message.joints) != 4 * count * J * axes or len(message.confidence) != count * J:
        raise PacketError(
            f"{len(message.joints)} bytes of joints and {len(message.confidence)} of confidence for {count} people"
        )
    values = np.frombuffer(message.joints, "<f4")
    if count and not np.abs(values).max() <= FARTHEST:  # NaN is not below it either
        raise PacketError(f"joints are not within {FARTHEST:g} {message.unit}")


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height, px, of a JPEG as its frame header gives them; None for anything else."""
    if data[:2] != b"\xff\xd8" or data[-2:] != b"\xff\xd9":
        return None
    at = 2
    while at + 9 <= len(data):
        marker, size = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if data[at] != 0xFF or size < 2:
            return None
        if marker in (0xC0, 0xC1, 0xC2):  # baseline, extended, progressive: what browsers read
            return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
        if marker == 0xDA:  # the image begins, and nothing has told its size
            return None
        at += 2 + size
    return None
