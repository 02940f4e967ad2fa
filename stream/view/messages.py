"""What a page is told, as JSON: packets with their joints, and what the page is about."""

from typing import Any

import msgspec
import numpy as np

from stream.codec.decode import Motion
from stream.wire.beside import JointsBeside, PictureBeside
from stream.wire.packets import Packet

NS = 1e9

_encode = msgspec.json.Encoder().encode


def hop_json(packet: Packet, motion: Motion | None, end: float, latency_ms: float | None) -> bytes:
    """Return a packet for the page. end: seconds, on whatever clock the page plays, of the hop's last frame."""
    fields: dict[str, Any] = {
        "type": "hop",
        "stream": packet.stream,
        "track": packet.track,
        "epoch": packet.epoch.hex(),
        "seq": packet.seq,
        "end": end,
        "fps": packet.fps,
        "hop": packet.hop,
        "unit": packet.unit,
        "shape": packet.shape,
        "ids": packet.ids().ravel().tolist(),
        "box": packet.box,
        "held": [i for i in range(packet.hop) if not packet.observed >> i & 1],
        "reset": packet.reset,
        "latency": latency_ms,
    }
    if motion is not None:
        fields["joints"] = np.round(motion.joints.astype(float).ravel(), 2).tolist()
        fields["confidence"] = np.round(motion.confidence.astype(float).ravel(), 2).tolist()
    return _encode(fields)


def joints_json(message: JointsBeside) -> bytes:
    """Return the producer's own joints for the page: by track, [joints, confidence], both flat."""
    people = {
        str(track): [np.round(joints.astype(float).ravel(), 2).tolist(), np.round(sure.astype(float), 2).tolist()]
        for track, (joints, sure) in message.people().items()
    }
    return _encode(
        {
            "type": "joints",
            "stream": message.stream,
            "end": message.t / NS,
            "dims": 2 if message.unit == "px" else 3,
            "people": people,
        }
    )


def picture_json(message: PictureBeside) -> bytes:
    """Return a picture for the page, its JPEG in base64."""
    return _encode(
        {
            "type": "picture",
            "stream": message.stream,
            "end": message.t / NS,
            "width": message.width,
            "height": message.height,
            "jpeg": message.jpeg,
        }
    )


def about_json(mode: str, source: str, **more: Any) -> bytes:
    """Return what a page has to know before the first message. mode: live or log; source: address or file."""
    return _encode({"mode": mode, "source": source, **more})
