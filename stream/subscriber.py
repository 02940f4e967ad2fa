"""`python -m stream.subscriber`: prints, decodes or logs the token packets of a producer."""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once()

import logging
import sys
import threading
import time
from collections import OrderedDict
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import ClassVar

from engine.command.cli import run
from engine.command.lifecycle import starting
from engine.command.messages import LogFormat, say
from stream.client import Heard, TokenStream
from stream.command.gauges import show_log, show_reader
from stream.command.metrics import Monitor, split_address
from stream.command.output import Output
from stream.command.waiting import Waiting
from stream.errors import SilenceError, TokenizerError
from stream.files.json_line import json_line
from stream.jetstream.address import check_reader
from stream.log.writer import LOCKED, TokenLog
from stream.subscribe.account import STREAMS, Key
from stream.wire.packets import Goodbye, Message, Packet, check_stream_name
from stream.wire.recent import recall
from stream.wire.security import Security

IDS_SHOWN = 6
HIPS = [11, 12]

LATENCY = "the capture of a hop's last frame to the receipt of its tokens, where that can be told"

LOST_SHOWN = 100
"""Ranges of lost packets told at the end."""

POLL_S = 0.1
"""Seconds between two looks at the stop event and the log's commit."""


@dataclass(frozen=True)
class Config:
    """Read packets of motion tokens: print them, decode them to joints, keep them in a log."""

    EXITS: ClassVar = (5, 6, 7, 8, 9, 10, 11, 12, 13)
    GROUPS: ClassVar = {
        "most used": ("connect", "decode", "json", "log", "once"),
        "what to read": ("stream", "track", "count", "timeout", "max_lag", "repair"),
        "tokenizer": ("tokenizer",),
        "network": ("keys", "server_key", "insecure"),
        "watching": ("metrics", "log_format"),
    }

    connect: str = "tcp://127.0.0.1:5555"
    """Address of the producer, tcp://HOST:PORT or ipc://PATH; or nats://HOST[:PORT][?from=all], where brokers keep the
    packets (docs/nats.md)."""
    keys: str | None = None
    """Folder of this machine's keys (python -m stream.keys). Where --connect is another machine keys are needed; by
    default those of KINETOKEN_KEYS, else of kinetoken's folder of settings."""
    server_key: str | None = None
    """The producer's public key: a .key file, its 40 characters or a name that python -m stream.keys list shows; by
    default the only one that is allowed."""
    insecure: bool = False
    """Read from another machine without keys: unencrypted, and from any peer that answers there."""
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
    """Keep the packets in this SQLite file, new or begun before; it can be read meanwhile. A packet's line is printed
    once the packet is on the disk, so a printed packet is never lost. What was missed since the file's last run is
    asked for again. With a full disk packets are neither kept nor printed, and the exit code is 9."""
    repair: bool = True
    """Ask the producer again for what was missed; --no-repair takes only what comes by itself."""
    max_lag: float | None = None
    """Leave out packets that are older than so many seconds, to stay fresh."""
    count: int | None = None
    """End after so many packets."""
    once: bool = False
    """End when the producer says goodbye, instead of waiting for the next one."""
    timeout: float = 30.0
    """Seconds of silence, neither packets nor status, after which to give up; 0 waits for ever."""
    metrics: str | None = None
    """Serve Prometheus /metrics and /health here: HOST:PORT, or a port of this machine's loopback."""
    log_format: LogFormat = "text"
    """How messages on standard error look: text, or json for one object a line."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if self.stream is not None:
            check_stream_name(self.stream)
        if self.track is not None and self.track < 0:
            raise ValueError(f"--track {self.track}: ids of people start at 0")
        if self.count is not None and self.count < 1:
            raise ValueError(f"--count {self.count}: at least 1")
        if self.max_lag is not None and self.max_lag <= 0:
            raise ValueError(f"--max-lag {self.max_lag:g}: seconds above 0")
        if self.max_lag is not None and self.log is not None:
            raise ValueError("--max-lag leaves packets out, --log keeps them all: give either")
        if self.timeout < 0:
            raise ValueError(f"--timeout {self.timeout}: seconds, or 0 to wait for ever")
        if self.metrics is not None:
            split_address(self.metrics)
        if self.tokenizer and not self.decode:
            raise ValueError("--tokenizer goes with --decode")
        check_reader(self.connect, self.decode)
        _ = self.security

    @property
    def security(self) -> Security:
        """The keys to present. Raises ValueError for flags that do not go together."""
        return Security(self.keys, self.server_key, self.insecure)


EXAMPLES = """
  python -m stream.subscriber                             watch a producer on this machine
  python -m stream.subscriber --stream demo --count 10    ten packets of one stream
  python -m stream.subscriber --json --decode | jq .joints
  python -m stream.subscriber --json --once > replay.jsonl
  python -m stream.subscriber --log tokens.db --timeout 0
"""


class LoggedLines:
    """Keeps packets in a log and prints their lines after the commit.

    Packets that the log cannot take, the disk being full, are not acknowledged: their lines are not printed.
    """

    def __init__(self, log: TokenLog, output: Output) -> None:
        self._log, self._output = log, output
        self._lines: list[str] = []
        self._fault: str | None = None

    def add(self, heard: Heard, line: str) -> None:
        """Take a packet and its line."""
        self._log.append(heard.packet, heard.frame, heard.wall)
        self._lines.append(line)

    def flush(self, now: bool = False) -> None:
        """Commit what has waited long enough, or all `now`, and print its lines. Call it often."""
        kept = self._log.flush(now)
        if self._log.waiting:
            if self._log.fault == LOCKED:
                self._tell()
            return
        lines, self._lines = self._lines, []
        if kept:
            self._output.line("\n".join(lines))
        self._tell()

    def close(self) -> None:
        """Commit and print the rest, close the log. Raises IncompleteLogError if packets are missing."""
        try:
            self.flush(now=True)
        finally:
            if self._log.close():  # what waited, all of it
                self._output.line("\n".join(self._lines))

    def _tell(self) -> None:
        if self._log.fault == self._fault:
            return
        self._fault = self._log.fault
        if self._fault:
            what = "waits for it" if self._fault == LOCKED else "is neither kept nor printed"
            told = f"log: {self._fault}: what comes now {what}"
            say(told, "log failed", logging.WARNING, fault=self._fault)
        else:
            say("log: it can be written again", "log works again")


def main(config: Config, stop: threading.Event) -> None:
    """Read until stopped, until `count` packets or until silence."""
    with ExitStack() as resources:
        log = None if config.log is None else _open_log(config.log)
        output = Output(stop)
        lines = LoggedLines(log, output) if log else None
        if lines:
            resources.callback(lines.close)
        stream = TokenStream(
            config.connect,
            config.stream,
            config.track,
            repair=config.repair,
            max_lag=config.max_lag,
            decode=config.decode,
            since=_since(config, log),
            tokenizer=config.tokenizer,
            security=config.security,
        )
        resources.enter_context(stream)
        resources.callback(_summarise, stream)
        if log:
            resources.callback(_note_lost, stream, log)
        monitor = _open_monitor(config, stream, log, resources)
        _read(config, stream, lines or output, monitor, stop, resources)


def _read(
    config: Config,
    stream: TokenStream,
    lines: LoggedLines | Output,
    monitor: Monitor | None,
    stop: threading.Event,
    resources: ExitStack,
) -> None:
    printed = 0
    heard_at = time.monotonic()
    epochs: OrderedDict[str, bytes] = OrderedDict()
    decoders: set[str] = set()
    waiting = resources.enter_context(closing(Waiting(config.connect, config.stream, config.security)))
    while not stop.is_set() and printed != config.count and not (config.once and stream.ended):
        try:
            heard = stream.poll(POLL_S)
        except TokenizerError as error:
            if not printed:
                raise
            # Others are decoded well: one odd sender does not end that.
            _say(str(error))
            continue
        if isinstance(lines, LoggedLines):
            lines.flush()
        if heard is None:
            if stream.opening:
                heard_at = time.monotonic()
            silence = time.monotonic() - heard_at
            if not stream.streams:
                waiting.tell(silence)
            if config.timeout and silence > config.timeout:
                if stream.ended:
                    return
                raise SilenceError(waiting.over(config.timeout, heard=bool(stream.streams)))
            continue
        heard_at = time.monotonic()
        _announce(heard.message, epochs)
        if not isinstance(heard.message, Packet):
            continue
        _announce_decoders(stream, decoders)
        if monitor and heard.latency_ms is not None and not heard.repaired:
            monitor.latency(heard.latency_ms / 1e3)
        line = json_line(heard) if config.json else text_line(heard)
        if isinstance(lines, LoggedLines):
            lines.add(heard, line)
        else:
            lines.line(line)
        printed += 1


def _open_log(path: str) -> TokenLog:
    with starting():
        log = TokenLog(path)
    if log.repair:
        say(str(log.repair), "log repaired")
    return log


def _since(config: Config, log: TokenLog | None) -> dict[Key, int]:
    """Return the last packet that the log has of every track that is read."""
    ends = log.last_seqs() if log else {}
    return {
        (stream, track, epoch): seq
        for (stream, track, epoch), seq in ends.items()
        if config.stream in (None, stream) and config.track in (None, track)
    }


def _note_lost(stream: TokenStream, log: TokenLog) -> None:
    for lost in stream.lost:
        log.lose((lost.stream, lost.track, lost.epoch), lost.first, lost.last)


def _open_monitor(config: Config, stream: TokenStream, log: TokenLog | None, resources: ExitStack) -> Monitor | None:
    if config.metrics is None:
        return None
    monitor = resources.enter_context(Monitor(config.metrics, LATENCY))
    show_reader(monitor, stream)
    if log:
        show_log(monitor, log, lambda: log.waiting)
    say(f"metrics and health at http://{monitor.address}/metrics and /health", "started")
    return monitor


def _announce(message: Message, epochs: OrderedDict[str, bytes]) -> None:
    """Say that a producer is there, restarted or gone; `epochs` remembers what was said."""
    name = message.stream
    if recall(epochs, name, bytes, STREAMS) != message.epoch:
        _say(f"{name}: the producer {'restarted' if epochs[name] else 'is there'}")
        epochs[name] = message.epoch
    if isinstance(message, Goodbye):
        _say(f"{name}: the producer said goodbye ({message.reason})")


def _announce_decoders(stream: TokenStream, said: set[str]) -> None:
    """Say what decodes; `said` remembers what was."""
    for label, decoder in stream.decoders.items():
        if label not in said:
            _say(f"decoding {decoder.spec.label} on {decoder.backend} ({decoder.why})")
            said.add(label)


def text_line(heard: Heard) -> str:
    """Return a packet as one line for people."""
    packet, motion = heard.packet, heard.motion
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


def _summarise(stream: TokenStream) -> None:
    for lost in stream.lost[:LOST_SHOWN]:
        seqs = str(lost.first) if lost.first == lost.last else f"{lost.first} to {lost.last}"
        _say(f"lost: {lost.stream}/{lost.track} seq {seqs} of epoch {lost.epoch.hex()}")
    if (more := len(stream.lost) - LOST_SHOWN) > 0:
        _say(f"lost: {more} more ranges")
    restarts = sum(state.restarts for state in stream.streams.values())
    _say(f"{stream.total}{f', producer restarts {restarts}' if restarts else ''}")


def _say(message: str) -> None:
    say(message, "reader")


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m stream.subscriber", examples=EXAMPLES))
