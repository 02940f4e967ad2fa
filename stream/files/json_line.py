"""A packet as one line of JSON, the form that the subscriber prints."""

from typing import Any

import msgspec
import numpy as np

from stream.subscribe.heard import Heard


def json_line(heard: Heard) -> str:
    """Return a packet as a JSON object: fields, latency_ms (null where no clocks compare), joints, confidence."""
    packet, motion = heard.packet, heard.motion
    fields: dict[str, Any] = msgspec.structs.asdict(packet)
    fields["epoch"] = packet.epoch.hex()
    fields["tokens"] = packet.ids().ravel().tolist()
    fields["latency_ms"] = None if heard.latency_ms is None else round(heard.latency_ms, 3)
    if motion:
        fields["joints"] = np.round(motion.joints.astype(float), 3).tolist()
        fields["confidence"] = np.round(motion.confidence.astype(float), 3).tolist()
    return msgspec.json.encode(fields).decode()
