"""What a page is told, as JSON: packets with their joints, and what the page is about."""

from typing import Any

import msgspec
import numpy as np

from stream.codec.decode import Motion
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


def about_json(mode: str, source: str, **more: Any) -> bytes:
    """Return what a page has to know before the first message. mode: live or log; source: address or file."""
    return _encode({"mode": mode, "source": source, **more})
