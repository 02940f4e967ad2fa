"""`python -m stream.bridge`: hands a producer's tokens and bodies on to other systems."""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once()

import sys
import threading
import time
from collections.abc import Mapping
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
from stream.jetstream.address import check_reader, parse_address, shown
from stream.sinks.base import Target
from stream.sinks.jetstream import JetStreamTarget
from stream.sinks.live import Live
from stream.sinks.lsl import LslSink
from stream.sinks.mcap import McapSink
from stream.sinks.mqtt import MqttSink
from stream.sinks.osc import OscSink
from stream.subscribe.account import Key
from stream.wire.packets import check_stream_name
from stream.wire.security import Security

POLL_S = 0.1
"""Seconds between two looks at the stop event."""


@dataclass(frozen=True)
class Config:
    """Read packets of motion tokens, decode them and hand them on: to OSC, LSL, MQTT, an MCAP file or NATS."""

    EXITS: ClassVar = (5, 6, 8, 9, 10, 11, 12, 14)

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
    nats: str | None = None
    """Keep packets at these brokers, for many readers: nats://HOST[:PORT][,HOST...][?replicas=3&hours=24&creds=FILE],
    or tls:// (docs/nats.md). Every packet once, in order, however long the brokers are away; it goes alone."""
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
        check_reader(self.connect, decode=self.nats is None)
        live = self.osc or self.lsl or self.mqtt or self.mcap
        if self.nats is not None:
            parse_address(self.nats, "writer")
            if live or self.tokenizer:
                raise ValueError("--nats keeps every packet, the others are live: run a bridge of its own for each")
        elif not live:
            raise ValueError("nowhere to hand packets on to: give --osc, --lsl, --mqtt, --mcap or --nats")
        Security(self.keys, self.server_key, self.insecure)


EXAMPLES = """
  python -m stream.bridge --osc 127.0.0.1:9000
  python -m stream.bridge --lsl --stream camera
  python -m stream.bridge --mqtt mqtt://broker:1883/studio
  python -m stream.bridge --mcap session.mcap --once
  python -m stream.bridge --connect tcp://camera:5555 --nats "nats://a,b,c?replicas=3"
"""


def main(config: Config, stop: threading.Event, since: Mapping[Key, int] | None = None) -> None:
    """Hand packets on until stopped, or with `once` until the producer ends. since: what is not to be missed."""
    with ExitStack() as resources:
        with starting():
            target = _open_target(config)
            resources.callback(target.close)
            stream = resources.enter_context(
                TokenStream(
                    config.connect,
                    config.stream,
                    decode=target.decodes,
                    tokenizer=config.tokenizer,
                    security=Security(config.keys, config.server_key, config.insecure),
                    since={**(since or {}), **target.since(config.stream)},
                )
            )
        service = Service()
        service.ready(f"bridging {shown(config.connect)}")
        resources.callback(service.stopping)
        _bridge(config, stream, target, service, stop)


def _open_target(config: Config) -> Target:
    """Open what the flags ask for."""
    if config.nats is not None:
        return JetStreamTarget(parse_address(config.nats, "writer"))
    live = Live()
    try:
        if config.osc:
            live.add(OscSink(*split_osc(config.osc)))
        if config.lsl:
            live.add(LslSink())
        if config.mqtt:
            live.add(MqttSink(config.mqtt))
        if config.mcap:
            live.add(McapSink(config.mcap))
    except BaseException:
        live.close()
        raise
    return live


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


def _bridge(config: Config, stream: TokenStream, target: Target, service: Service, stop: threading.Event) -> None:
    heard_at = time.monotonic()
    while not stop.is_set() and not (config.once and stream.ended):
        service.beat()
        if not target.room(POLL_S):
            heard_at = time.monotonic()
            continue
        try:
            heard = stream.poll(POLL_S)
        except TokenizerError as error:
            if not target.packets:
                raise
            say(str(error), "bridge")  # of one sender: the others go on
            continue
        if heard is None:
            if stream.opening:
                heard_at = time.monotonic()
            if config.timeout and time.monotonic() - heard_at > config.timeout and not stream.ended:
                raise SilenceError(
                    f"nothing heard at {shown(config.connect)} for {config.timeout:g} s: is a producer running there?"
                )
            continue
        heard_at = time.monotonic()
        target.take(heard)
    gaps = stream.total.gaps
    lost = f"; {gaps} were lost before, and the producer does not have them any more" if gaps else ""
    say(f"{target.packets} packets handed on{lost}", "ended", packets=target.packets, lost=gaps)


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m stream.bridge", examples=EXAMPLES))
