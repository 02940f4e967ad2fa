"""MCAP: a recording of packets and of skeletons as lines, which Foxglove plays.

    /tokens/<stream>/<track>   the subscriber's line of JSON
    /body/<stream>/<track>     foxglove.SceneUpdate: one entity of lines a frame

Foxglove's axes: z up, metres. Bodies in pixels stand upright, 100 pixels a metre.
"""

import time
from typing import IO, Any

import msgspec

from stream.codec.decode import Motion
from stream.motion.skeleton import BONES, SEEN, Array
from stream.wire.packets import Packet

CHUNK = 16 * 1024
"""Bytes of a chunk: what a kill may lose at most."""

FRAME = "room"
"""Name of the coordinate frame."""

_TIME = {"type": "object", "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}}}
_POINT = {"type": "object", "properties": {axis: {"type": "number"} for axis in "xyz"}}
_LINE = {
    "type": "object",
    "properties": {
        "type": {"type": "integer"},
        "pose": {"type": "object"},
        "thickness": {"type": "number"},
        "scale_invariant": {"type": "boolean"},
        "points": {"type": "array", "items": _POINT},
        "color": {"type": "object"},
    },
}
_ENTITY = {
    "type": "object",
    "properties": {
        "timestamp": _TIME,
        "frame_id": {"type": "string"},
        "id": {"type": "string"},
        "lifetime": _TIME,
        "lines": {"type": "array", "items": _LINE},
    },
}
SCENE = {
    "title": "foxglove.SceneUpdate",
    "type": "object",
    "properties": {"entities": {"type": "array", "items": _ENTITY}, "deletions": {"type": "array"}},
}
"""The part of Foxglove's SceneUpdate that a skeleton needs."""

LIST_OF_LINES = 2
COLOURS = [(0.12, 0.47, 0.71), (1.0, 0.5, 0.05), (0.17, 0.63, 0.17), (0.84, 0.15, 0.16), (0.58, 0.4, 0.74)]


class McapWriter:
    """Writes packets and their joints into an open file."""

    def __init__(self, file: IO[bytes]) -> None:
        from mcap.writer import Writer

        self._writer: Any = Writer(file, chunk_size=CHUNK)
        self._writer.start(library="kinetoken")
        any_object = msgspec.json.encode({"type": "object"})
        self._schemas = {
            "tokens": self._writer.register_schema("kinetoken.Packet", "jsonschema", any_object),
            "body": self._writer.register_schema("foxglove.SceneUpdate", "jsonschema", msgspec.json.encode(SCENE)),
        }
        self._channels: dict[str, int] = {}

    def add(self, packet: Packet, motion: Motion, line: bytes) -> None:
        """Write a packet as a line of JSON, and its frames, at the times of their capture."""
        person = f"{packet.stream}/{packet.track}"
        self._write("tokens", person, packet.wall, line)
        spacing = 1e9 / packet.fps
        for frame, (joints, confidence) in enumerate(zip(*motion, strict=True)):
            taken = packet.wall - round((len(motion.joints) - 1 - frame) * spacing)
            entity = _entity(person, packet.track, taken, spacing, _in_the_room(joints), confidence)
            self._write("body", person, taken, msgspec.json.encode({"entities": [entity], "deletions": []}))

    def close(self) -> None:
        """Write the index. The file stays open."""
        self._writer.finish()

    def _write(self, kind: str, person: str, taken: int, data: bytes) -> None:
        topic = f"/{kind}/{person}"
        if topic not in self._channels:
            self._channels[topic] = self._writer.register_channel(topic, "json", self._schemas[kind])
        # A sender may claim any time; the format has none before 1970.
        self._writer.add_message(self._channels[topic], time.time_ns(), data, max(taken, 0))


def _in_the_room(joints: Array) -> list[dict[str, float]]:
    """Return joints in metres, z up; those in pixels upright, 100 a metre."""
    metres = joints.astype(float) / 100
    if metres.shape[1] == 2:
        return [{"x": x, "y": 0.0, "z": -y} for x, y in metres.tolist()]
    return [{"x": x, "y": z, "z": -y} for x, y, z in metres.tolist()]


def _entity(
    person: str, track: int, taken: int, spacing: float, places: list[dict[str, float]], confidence: Array
) -> dict[str, Any]:
    """Return a body as Foxglove's SceneEntity: a list of lines between the joints that were seen."""
    points = [places[end] for bone in BONES if all(confidence[end] >= SEEN for end in bone) for end in bone]
    red, green, blue = COLOURS[track % len(COLOURS)]
    seconds, nanoseconds = divmod(max(taken, 0), 10**9)
    upright = {"position": {"x": 0, "y": 0, "z": 0}, "orientation": {"x": 0, "y": 0, "z": 0, "w": 1}}
    return {
        "timestamp": {"sec": seconds, "nsec": nanoseconds},
        "frame_id": FRAME,
        "id": person,
        # A little longer than a frame, so that nothing flickers and nobody stays who has gone.
        "lifetime": {"sec": 0, "nsec": min(round(3 * spacing), 999_999_999)},
        "frame_locked": False,
        "lines": [
            {
                "type": LIST_OF_LINES,
                "pose": upright,
                "thickness": 3.0,
                "scale_invariant": True,
                "points": points,
                "color": {"r": red, "g": green, "b": blue, "a": 1.0},
                "colors": [],
                "indices": [],
            }
        ],
    }
