"""`python -m stream.bridge`: hands a producer's tokens and bodies on to other systems."""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once()

import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

from engine.command.cli import run
from engine.command.lifecycle import starting
from engine.command.messages import LogFormat, say
from stream.client import TokenStream
from stream.command.service import Service
from stream.errors import SilenceError, TokenizerError
from stream.sinks.base import Sink
from stream.sinks.lsl import LslSink
from stream.sinks.mcap import McapSink
from stream.sinks.mqtt import MqttSink
from stream.sinks.osc import OscSink
from stream.wire.packets import Goodbye, Packet, check_stream_name
from stream.wire.security import Security

POLL_S = 0.1
"""Seconds between two looks at the stop event."""


@dataclass(frozen=True)
class Config:
    """Read packets of motion tokens, decode them and hand them on: to OSC, LSL, MQTT or an MCAP file."""

    EXITS: ClassVar = (5, 6, 8, 10, 11, 12, 14)

    connect: str = "tcp://127.0.0.1:5555"
    """Address of the producer, tcp://HOST:PORT or ipc://PATH."""
    osc: str | None = None
    """Send joints by name over UDP to this HOST:PORT, for TouchDesigner, Blender, Unity."""
    lsl: bool = False
    """Open Lab Streaming Layer outlets of joints and ids for every person."""
    mqtt: str | None = None
    """Publish packets as JSON to this broker, mqtt[s]://[USER:PASSWORD@]HOST[:PORT][/PREFIX]."""
    mcap: str | None = None
    """Record packets and skeletons to this new MCAP file, for Foxglove."""
    stream: str | None = None
    """Only the stream of this name."""
    once: bool = False
    """End with the producer's goodbye."""
    timeout: float = 0.0
    """Seconds without a message after which to give up; 0 for never."""
    tokenizer: str | None = None
    """Decode with this tokenizer, a name or directory, instead of the one that the packets name."""
    keys: str | None = None
    """Folder of keys made by python -m stream.keys: this reader's own, and the producer's."""
    server_key: str | None = None
    """Public key of the producer, where the folder allows more than one."""
    insecure: bool = False
    """Read without keys from another machine."""
    log_format: LogFormat = "text"
    """How messages on standard error look: text, or json for one object a line."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if self.stream is not None:
            check_stream_name(self.stream)
        if self.timeout < 0:
            raise ValueError(f"--timeout {self.timeout:g}: seconds, 0 or more")
        if self.osc is not None:
            split_osc(self.osc)
        if self.mqtt is not None:
            check_mqtt(self.mqtt)
        if not (self.osc or self.lsl or self.mqtt or self.mcap):
            raise ValueError("nowhere to hand packets on to: give --osc, --lsl, --mqtt or --mcap")
        Security(self.keys, self.server_key, self.insecure)


EXAMPLES = """
  python -m stream.bridge --osc 127.0.0.1:9000
  python -m stream.bridge --lsl --stream camera
  python -m stream.bridge --mqtt mqtt://broker:1883/studio
  python -m stream.bridge --mcap session.mcap --once
"""


def main(config: Config, stop: threading.Event) -> None:
    """Hand packets on until stopped, or with `once` until the producer ends."""
    with ExitStack() as resources:
        with starting():
            sinks = open_sinks(config, resources)
            stream = resources.enter_context(
                TokenStream(
                    config.connect,
                    config.stream,
                    decode=any(sink.decodes for sink in sinks),
                    tokenizer=config.tokenizer,
                    security=Security(config.keys, config.server_key, config.insecure),
                )
            )
        service = Service()
        service.ready(f"bridging {config.connect}")
        resources.callback(service.stopping)
        _bridge(config, stream, sinks, service, stop)


def open_sinks(config: Config, resources: ExitStack) -> list[Sink]:
    """Open what the flags ask for; `resources` closes it."""
    sinks: list[Sink] = []

    def add(sink: Sink) -> None:
        sinks.append(sink)
        resources.callback(sink.close)

    if config.osc:
        add(OscSink(*split_osc(config.osc)))
    if config.lsl:
        add(LslSink())
    if config.mqtt:
        add(MqttSink(config.mqtt))
    if config.mcap:
        add(McapSink(config.mcap))
    return sinks


def split_osc(address: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT. Raises ValueError."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"--osc {address}: expected HOST:PORT, such as 127.0.0.1:9000")
    return host.strip("[]"), int(port)


def check_mqtt(address: str) -> None:
    """Raise ValueError for what is not the address of a broker."""
    told = "expected mqtt://HOST[:PORT][/PREFIX], or mqtts:// for TLS"
    try:
        url = urlsplit(address)
        port = url.port
    except ValueError:
        raise ValueError(f"--mqtt: {told}") from None
    if url.scheme not in ("mqtt", "mqtts") or not url.hostname or port == 0 or url.fragment or "+" in url.path:
        raise ValueError(f"--mqtt: {told}")


def _bridge(config: Config, stream: TokenStream, sinks: list[Sink], service: Service, stop: threading.Event) -> None:
    packets: Counter[str] = Counter()
    epochs: dict[str, bytes] = {}
    heard_at = time.monotonic()
    while not stop.is_set() and not (config.once and stream.ended):
        service.beat()
        try:
            heard = stream.poll(POLL_S)
        except TokenizerError as error:
            if not packets:
                raise
            say(str(error), "bridge")  # of one sender: the others go on
            continue
        if heard is None:
            if stream.opening:
                heard_at = time.monotonic()
            if config.timeout and time.monotonic() - heard_at > config.timeout and not stream.ended:
                raise SilenceError(f"nothing heard at {config.connect} for {config.timeout:g} s: is a producer there?")
            continue
        heard_at = time.monotonic()
        message = heard.message
        new_run = epochs.get(message.stream, message.epoch) != message.epoch
        epochs[message.stream] = message.epoch
        if new_run or isinstance(message, Goodbye):
            for sink in sinks:
                sink.gone(message.stream)
        if isinstance(message, Packet):
            if not packets[message.stream]:
                say(f"{message.stream}: the first packet is handed on", "bridge")
            packets[message.stream] += 1
            for sink in sinks:
                sink.packet(heard)
    say(f"{packets.total()} packets handed on", "ended", packets=packets.total())


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m stream.bridge", examples=EXAMPLES))
