"""`python -m stream.subscriber`: prints, decodes or logs the token packets of a producer."""

import sys
import threading
import time
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from engine.session import Decoder, open_decoder
from stream.cli import run
from stream.client import STREAMS, Heard, TokenStream
from stream.decode import Motion, StreamDecoder
from stream.errors import SilenceError, TokenizerError
from stream.log import TokenLog
from stream.recent import recall
from stream.wire import Goodbye, Message, Packet, PacketError, check_stream_name

IDS_SHOWN = 6
HIPS = [11, 12]

POLL_S = 0.1
"""Seconds between two looks at the stop event and the log's commit."""


@dataclass(frozen=True)
class Config:
    """Read packets of motion tokens: print them, decode them to joints, keep them in a log."""

    connect: str = "tcp://127.0.0.1:5555"
    """Address of the producer, tcp://HOST:PORT or ipc://PATH."""
    stream: str | None = None
    """Read only the stream of this name."""
    track: int | None = None
    """Read only the person of this id."""
    tokenizer: str | None = None
    """Decode with the tokenizer of this name or directory instead of the one that the packets name."""
    decode: bool = False
    """Decode the tokens to joints in source coordinates, px or cm."""
    json: bool = False
    """Print one JSON object a line: the packet's fields, latency_ms, with --decode joints and confidence."""
    log: str | None = None
    """Keep the packets in this SQLite file, new or begun before; it can be read meanwhile."""
    count: int | None = None
    """End after so many packets."""
    once: bool = False
    """End when the producer says goodbye, instead of waiting for the next one."""
    timeout: float = 30.0
    """Seconds of silence, neither packets nor status, after which to give up; 0 waits for ever."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if self.stream is not None:
            check_stream_name(self.stream)
        if self.track is not None and self.track < 0:
            raise ValueError(f"--track {self.track}: ids of people start at 0")
        if self.count is not None and self.count < 1:
            raise ValueError(f"--count {self.count}: at least 1")
        if self.timeout < 0:
            raise ValueError(f"--timeout {self.timeout}: seconds, or 0 to wait for ever")
        if self.tokenizer and not self.decode:
            raise ValueError("--tokenizer goes with --decode")


EXAMPLES = """
  python -m stream.subscriber                             watch a producer on this machine
  python -m stream.subscriber --stream demo --count 10    ten packets of one stream
  python -m stream.subscriber --json --decode | jq .joints
  python -m stream.subscriber --json --once > replay.jsonl
  python -m stream.subscriber --log tokens.db --timeout 0
"""


def main(config: Config, stop: threading.Event) -> None:
    """Read until stopped, until `count` packets or until silence."""
    with ExitStack() as resources:
        decoder = StreamDecoder(_open_decoder, config.tokenizer) if config.decode else None
        log = resources.enter_context(TokenLog(config.log)) if config.log else None
        stream = resources.enter_context(TokenStream(config.connect, config.stream, config.track))
        resources.callback(_summarise, stream)
        _read(config, stream, decoder, log, stop)


def _read(
    config: Config,
    stream: TokenStream,
    decoder: StreamDecoder | None,
    log: TokenLog | None,
    stop: threading.Event,
) -> None:
    printed = 0
    heard_at = time.monotonic()
    epochs: OrderedDict[str, bytes] = OrderedDict()
    while not stop.is_set() and printed != config.count and not (config.once and stream.ended):
        heard = stream.poll(POLL_S)
        if log:
            log.flush()
        if heard is None:
            if config.timeout and time.monotonic() - heard_at > config.timeout:
                if stream.ended:
                    return
                raise SilenceError(_silence(config, stream))
            continue
        heard_at = time.monotonic()
        _announce(heard.message, epochs)
        if not isinstance(heard.message, Packet):
            continue
        try:
            motion = decoder.decode(heard.message) if decoder else None
        except PacketError:
            stream.reject(heard.message)
            continue
        except TokenizerError as error:
            if not printed:
                raise
            # Others are decoded well: one odd sender does not end that.
            _say(f"{heard.message.stream}/{heard.message.track}: {error}")
            stream.reject(heard.message)
            continue
        if log:
            log.append(heard.message, heard.frame, heard.wall)
        print(json_line(heard, motion) if config.json else text_line(heard, motion))
        printed += 1


def _announce(message: Message, epochs: OrderedDict[str, bytes]) -> None:
    """Say that a producer is there, restarted or gone; `epochs` remembers what was said."""
    name = message.stream
    if recall(epochs, name, bytes, STREAMS) != message.epoch:
        _say(f"{name}: the producer {'restarted' if epochs[name] else 'is there'}")
        epochs[name] = message.epoch
    if isinstance(message, Goodbye):
        _say(f"{name}: the producer said goodbye ({message.reason})")


def text_line(heard: Heard, motion: Motion | None) -> str:
    """Return a packet as one line for people."""
    packet = heard.message
    assert isinstance(packet, Packet)
    ids = packet.ids().ravel()
    parts = [
        f"{packet.stream}/{packet.track}",
        f"seq {packet.seq}",
        f"frame {packet.frame}",
        f"ids {' '.join(map(str, ids[:IDS_SHOWN]))}{' ...' if ids.size > IDS_SHOWN else ''}",
    ]
    if motion:
        hips = motion.joints[-1, HIPS].mean(axis=0)
        parts.append(f"hips {' '.join(f'{number:.0f}' for number in hips)} {packet.unit}")
    if heard.latency_ms is not None:
        parts.append(f"{heard.latency_ms:.1f} ms")
    if held := packet.hop - packet.observed.bit_count():
        parts.append(f"held {held}/{packet.hop}")
    if packet.reset:
        parts.append("reset")
    return "  ".join(parts)


def json_line(heard: Heard, motion: Motion | None) -> str:
    """Return a packet as a JSON object: fields, latency_ms (null between machines), joints, confidence."""
    packet = heard.message
    assert isinstance(packet, Packet)
    fields: dict[str, Any] = msgspec.structs.asdict(packet)
    fields["epoch"] = packet.epoch.hex()
    fields["tokens"] = packet.ids().ravel().tolist()
    fields["latency_ms"] = None if heard.latency_ms is None else round(heard.latency_ms, 3)
    if motion:
        fields["joints"] = np.round(motion.joints.astype(float), 3).tolist()
        fields["confidence"] = np.round(motion.confidence.astype(float), 3).tolist()
    return msgspec.json.encode(fields).decode()


def _open_decoder(tokenizer: str) -> Decoder:
    decoder = open_decoder(tokenizer)
    _say(f"decoding {decoder.spec.label} on {decoder.backend} ({decoder.why})")
    return decoder


def _silence(config: Config, stream: TokenStream) -> str:
    if stream.streams:
        return f"nothing more from {config.connect} for {config.timeout:g} s: the producer is gone or cut off"
    which = f" of stream {config.stream!r}" if config.stream else ""
    return (
        f"nothing{which} heard at {config.connect} for {config.timeout:g} s: start a producer there, "
        "check --connect, or wait longer with --timeout"
    )


def _summarise(stream: TokenStream) -> None:
    restarts = sum(state.restarts for state in stream.streams.values())
    _say(f"{stream.total}{f', producer restarts {restarts}' if restarts else ''}")


def _say(message: str) -> None:
    print(message, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m stream.subscriber", examples=EXAMPLES))
