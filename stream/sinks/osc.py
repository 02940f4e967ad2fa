"""Open Sound Control over UDP: joints by name, for TouchDesigner, Blender, Unity, Max.

/kinetoken/<stream>/<track>/<joint>   x y [z] confidence     every frame, px or cm, y down
/kinetoken/<stream>/<track>/ids       the token ids          every hop
/kinetoken/<stream>/gone              1                      when the producer ends
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from stream.errors import OutputError
from stream.motion.skeleton import JOINTS, Array
from stream.sinks.playout import Playout
from stream.subscribe.heard import Heard

ROOT = "/kinetoken"


class OscSink:
    """Sends to HOST:PORT. Raises OutputError if the address is unknown."""

    decodes = True

    def __init__(self, host: str, port: int) -> None:
        from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
        from pythonosc.osc_message_builder import OscMessageBuilder
        from pythonosc.udp_client import UDPClient

        try:
            self._client = UDPClient(host, port)
        except OSError as error:
            raise OutputError(f"cannot send OSC to {host}:{port}: {error.strerror or error}") from error
        self._message: Any = OscMessageBuilder
        self._bundle: Callable[[], Any] = lambda: OscBundleBuilder(IMMEDIATELY)
        self._playout = Playout()

    def packet(self, heard: Heard) -> None:
        """Send the ids at once and the frames in their time."""
        packet, motion = heard.packet, heard.motion
        assert motion is not None
        person = f"{ROOT}/{packet.stream}/{packet.track}"
        self._send(f"{person}/ids", packet.ids().ravel().tolist())
        frames: list[Callable[[], None]] = [
            partial(self._frame, person, joints, confidence) for joints, confidence in zip(*motion, strict=True)
        ]
        self._playout.add(person, packet.fps, frames)

    def gone(self, stream: str) -> None:
        """Tell that nobody of a stream is there any more."""
        self._send(f"{ROOT}/{stream}/gone", [1])

    def close(self) -> None:
        """Send the frames that are left."""
        self._playout.close()

    def _frame(self, person: str, joints: Array, confidence: Array) -> None:
        """Send one frame as one bundle: its joints belong together."""
        bundle = self._bundle()
        for joint, place, seen in zip(JOINTS, joints.tolist(), confidence.tolist(), strict=True):
            bundle.add_content(self._built(f"{person}/{joint}", [*place, seen]))
        self._client.send(bundle.build())

    def _send(self, address: str, values: list[int]) -> None:
        self._client.send(self._built(address, values))

    def _built(self, address: str, values: list[int] | list[float]) -> Any:
        message = self._message(address=address)
        for value in values:
            message.add_arg(value)
        return message.build()
