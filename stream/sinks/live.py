"""Systems that show bodies as they move: packets are handed on as they come, and who is gone is told."""

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack

from engine.command.messages import say
from stream.sinks.base import Sink
from stream.subscribe.account import Key
from stream.subscribe.heard import Heard
from stream.wire.packets import Goodbye, Packet


class Live:
    """Hands packets on to sinks."""

    def __init__(self) -> None:
        self._sinks: list[Sink] = []
        self._closing = ExitStack()
        self._packets: Counter[str] = Counter()
        self._epochs: dict[str, bytes] = {}

    def add(self, sink: Sink) -> None:
        """Hand packets on to a sink too; it is closed with this."""
        self._sinks.append(sink)
        self._closing.callback(sink.close)

    @property
    def packets(self) -> int:
        """How many were handed on."""
        return self._packets.total()

    @property
    def decodes(self) -> bool:
        """Whether a sink needs the joints."""
        return any(sink.decodes for sink in self._sinks)

    def since(self, stream: str | None) -> Mapping[Key, int]:
        """Return nothing: what is past is not shown."""
        return {}

    def room(self, seconds: float) -> bool:
        """Return True: sinks do not block."""
        return True

    def take(self, heard: Heard) -> None:
        """Hand a packet on; tell whose people are gone."""
        message = heard.message
        new_run = self._epochs.get(message.stream, message.epoch) != message.epoch
        self._epochs[message.stream] = message.epoch
        if new_run or isinstance(message, Goodbye):
            for sink in self._sinks:
                sink.gone(message.stream)
        if isinstance(message, Packet):
            if not self._packets[message.stream]:
                say(f"{message.stream}: the first packet is handed on", "bridge")
            self._packets[message.stream] += 1
            for sink in self._sinks:
                sink.packet(heard)

    def close(self) -> None:
        """Close the sinks. Safe to call twice."""
        self._closing.close()
