"""Lab Streaming Layer: every person as two outlets, for LabRecorder, EEG and biosignal laboratories.

    kinetoken <stream>/<track> joints   17 x (x, y[, z], confidence), float32, at the frame rate, px or cm
    kinetoken <stream>/<track> ids      the ids of a hop, int32, at the hop rate

Samples carry the time of capture on LSL's clock, so that recordings line up with other instruments.
"""

import time
from collections import OrderedDict
from typing import Any, NamedTuple

from stream.errors import OutputError
from stream.motion.skeleton import JOINTS
from stream.sinks.base import captured_at
from stream.subscribe.heard import Heard

PEOPLE = 256
"""People with outlets at once; the one longest unheard goes."""


class _Outlets(NamedTuple):
    joints: Any  # pylsl.StreamOutlet
    ids: Any  # pylsl.StreamOutlet


class LslSink:
    """Opens outlets as people appear. Raises OutputError if LSL's library cannot be loaded."""

    decodes = True

    def __init__(self) -> None:
        try:
            import pylsl
        except RuntimeError as error:  # the wheel without its native library
            raise OutputError(f"LSL's library cannot be loaded: {error}") from error
        self._lsl = pylsl
        self._people: OrderedDict[tuple[str, int, bytes], _Outlets] = OrderedDict()

    def packet(self, heard: Heard) -> None:
        """Push a hop of joints, each frame with its time, and the ids with the time of the last frame."""
        packet, motion = heard.packet, heard.motion
        assert motion is not None
        outlets = self._people.pop(heard.key, None) or self._open(heard)
        self._people[heard.key] = outlets
        if len(self._people) > PEOPLE:
            self._people.popitem(last=False)
        # LSL's clock is monotonic too, but promises no relation to Python's.
        last = captured_at(heard) - time.monotonic() + self._lsl.local_clock()
        frames = len(motion.joints)
        for frame, (joints, confidence) in enumerate(zip(*motion, strict=True)):
            sample = [number for place, seen in zip(joints, confidence, strict=True) for number in (*place, seen)]
            outlets.joints.push_sample([float(each) for each in sample], last - (frames - 1 - frame) / packet.fps)
        outlets.ids.push_sample(packet.ids().ravel().tolist(), last)

    def gone(self, stream: str) -> None:
        """Close the outlets of a stream's people."""
        for key in [key for key in self._people if key[0] == stream]:
            del self._people[key]

    def close(self) -> None:
        """Close all outlets."""
        self._people.clear()

    def _open(self, heard: Heard) -> _Outlets:
        packet = heard.packet
        axes = "xyz"[: len(packet.box) - 1]
        name, source = f"kinetoken {packet.stream}/{packet.track}", f"{packet.epoch.hex()}-{packet.track}"
        joints = self._lsl.StreamInfo(
            f"{name} joints", "MoCap", len(JOINTS) * (len(axes) + 1), packet.fps, "float32", f"{source}-joints"
        )
        channels = joints.desc().append_child("channels")
        for joint in JOINTS:
            for what in (*axes, "confidence"):
                channel = channels.append_child("channel")
                channel.append_child_value("label", f"{joint} {what}")
                channel.append_child_value("unit", "" if what == "confidence" else packet.unit)
        ids = self._lsl.StreamInfo(
            f"{name} ids", "Tokens", packet.ids().size, packet.fps / packet.hop, "int32", f"{source}-ids"
        )
        ids.desc().append_child_value("tokenizer", packet.tokenizer)
        return _Outlets(self._lsl.StreamOutlet(joints), self._lsl.StreamOutlet(ids))
