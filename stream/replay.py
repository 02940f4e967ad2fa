"""`python -m stream.replay`: publishes a token log again, the same packets byte for byte, in their time."""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once()

import math
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import ClassVar

from engine.command.cli import run
from engine.command.messages import LogFormat
from stream.command.report import Report
from stream.command.service import Service
from stream.errors import LogError
from stream.log.reader import Logged, LogReader, place_of
from stream.publish.control import FAREWELL, ControlServer
from stream.publish.outlet import LINGER, QUEUED, Outlet
from stream.publish.publisher import STATUS_INTERVAL, Broadcast
from stream.wire.packets import check_stream_name
from stream.wire.security import Security

PAUSE = 1.0
"""Seconds that a replay waits at most for the next run of a producer, however long it was away."""

QUIET = 1.0
"""Seconds without a sign of a reader after which a replay at full speed ends. One that was cut off shows more often."""

LOOK_S = 0.05
"""Seconds between two looks for such signs."""

ENDED = "end of the run in the log"

_BEAT = STATUS_INTERVAL / 2


@dataclass(frozen=True)
class Config:
    """Publish a token log again: the same packets with their stream, epoch and seq, in order and at their pace."""

    EXITS: ClassVar = (6, 7, 9, 10, 11)

    log: str
    """Token log to read; it may still be written meanwhile."""
    speed: float = 1.0
    """How many times as fast as it was; 0 for as fast as possible."""
    from_: str | None = None
    """Where to begin: a date and time such as 2026-05-01T12:00 (local, or with +00:00), or seconds from the start."""
    stream: str | None = None
    """Publish only the stream of this name."""
    bind: str = "tcp://127.0.0.1:5555"
    """Address to publish on, tcp://HOST:PORT or ipc://PATH; port * takes a free one."""
    wait: float = 0.0
    """Wait up to this many seconds for a first subscriber before starting, so that it misses nothing."""
    keys: str | None = None
    """Folder of keys made by python -m stream.keys: only readers with a listed key get in."""
    insecure: bool = False
    """Publish on any address without keys: anyone who can reach it can read."""
    log_format: LogFormat = "text"
    """How messages on standard error look: text, or json for one object a line."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if self.stream is not None:
            check_stream_name(self.stream)
        if not (math.isfinite(self.speed) and self.speed >= 0):
            raise ValueError(f"--speed {self.speed:g}: above 0, or 0 for as fast as possible")
        if self.wait < 0:
            raise ValueError(f"--wait {self.wait:g}: seconds, 0 or more")
        if self.from_ is not None:
            place_of(self.from_, 0)
        Security(self.keys, None, self.insecure)


EXAMPLES = """
  python -m stream.replay tokens.db
  python -m stream.replay tokens.db --speed 2 --from 2026-05-01T12:00
  python -m stream.replay tokens.db --speed 0 --wait 30 --stream camera
"""


def main(config: Config, stop: threading.Event) -> None:
    """Publish until the log ends or `stop` is set. Raises IncompleteLogError at the end if the log lacks packets."""
    with ExitStack() as resources:
        log = resources.enter_context(LogReader(config.log))
        count, first, last = log.span()
        begin = None if config.from_ is None else place_of(config.from_, first)
        logged = _chosen(log, config.stream, begin)
        if (head := next(logged, None)) is None:
            which = f" of stream {config.stream}" if config.stream else ""
            since = f" from {config.from_} on" if config.from_ else ""
            raise LogError(f"no packets{which}{since} in {config.log}: it has {count}, {_span(first, last)}")
        security = Security(config.keys, None, config.insecure)
        outlet = Outlet(config.bind, live=config.speed > 0, security=security)
        # For errors; `_publish` has drained it by then.
        resources.callback(outlet.close)
        report = Report(config.log_format)
        pace = f"{config.speed:g} times as fast" if config.speed else "as fast as possible"
        report.say(f"{config.log} ({count} packets, {_span(first, last)}, {pace}) -> {outlet.address}")
        service = Service()
        service.ready(f"replaying {config.log}")
        replay = _Replay(outlet, log, security, config.speed, report, service)
        try:
            replay.begin(head)
            if config.wait and not replay.wait(config.wait, stop) and not stop.is_set():
                report.say(f"no subscriber within {config.wait:g} s: starting without one", "no subscriber")
            reason = replay.go(chain([head], logged), stop)
            if config.speed == 0:
                replay.see_off(stop)
        finally:
            service.stopping()
            replay.close()
        report.end(reason)
        outlet.close(QUEUED if config.speed == 0 else LINGER, stop)
        if not stop.is_set():
            log.check()


def _chosen(log: LogReader, stream: str | None, begin: int | None) -> Iterator[Logged]:
    return (each for each in log.packets(begin) if stream in (None, each.packet.stream))


def _span(first: int, last: int) -> str:
    return f"{_moment(first)} to {_moment(last)}"


def _moment(time_ns: int) -> str:
    try:
        return datetime.fromtimestamp(time_ns / 1e9).isoformat(sep=" ", timespec="seconds")
    except (ValueError, OverflowError, OSError):  # senders may claim any time
        return f"{time_ns} ns"


class _Shown:
    """What of a log was replayed so far, as an `Archive` for readers that missed some of it."""

    def __init__(self, log: LogReader) -> None:
        self._log = log
        self._epochs: dict[str, list[bytes]] = {}

    def begin(self, stream: str, epoch: bytes) -> None:
        """Note that a run is replayed from now on, those before it are over."""
        self._epochs.setdefault(stream, []).append(epoch)

    def frames(self, stream: str, track: int, epoch: bytes, first: int, last: int) -> Iterator[bytes]:
        """As of the log."""
        return self._log.frames(stream, track, epoch, first, last)

    def epochs(self, stream: str, limit: int) -> list[bytes]:
        """Return the last `limit` epochs that were begun, oldest first."""
        return self._epochs.get(stream, [])[-limit:]

    def ends(self, stream: str, epoch: bytes, track: int, limit: int) -> list[tuple[int, int]]:
        """As of the log, for runs that are over."""
        over = self._epochs.get(stream, [])[:-1]
        return self._log.ends(stream, epoch, track, limit) if epoch in over else []


class _Replay:
    """The runs of the log's streams, one after the other for each of them, over one outlet."""

    def __init__(
        self, outlet: Outlet, log: LogReader, security: Security, speed: float, report: Report, service: Service
    ) -> None:
        self._outlet, self._shown, self._security, self._speed = outlet, _Shown(log), security, speed
        self._report, self._service = report, service
        self._runs: dict[str, tuple[Broadcast, ControlServer]] = {}
        self._packets = 0

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """Wait for a first subscriber to any stream, with signs of life for those who hear only them."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not stop.is_set():
            self._beat()
            if self._outlet.wait(None, min(left, _BEAT), stop):
                return True
        return False

    def go(self, logged: Iterator[Logged], stop: threading.Event) -> str:
        """Publish all that is logged; return why it ended."""
        due, before = time.monotonic(), None
        for each in logged:
            if self._speed and before is not None:
                pause = max(each.time - before, 0) / 1e9
                due += (pause if self._is_running(each) else min(pause, PAUSE)) / self._speed
                while (left := due - time.monotonic()) > 0 and not stop.wait(min(left, _BEAT)):
                    self._beat()
            before = each.time
            if stop.is_set():
                return "stopped"
            self.begin(each).pass_on(each.packet, each.frame)
            self._packets += 1
            self._beat()
            self._report.frame(len(self._runs), self._counters)
        return "log ended"

    def see_off(self, stop: threading.Event) -> None:
        """Stay for readers that could not keep up: they have cut their links, and ask for what they lack.

        Returns when for `QUIET` nobody asks, nothing is under way and no link comes or goes.
        """
        began, greeted = time.monotonic(), -1
        while not stop.is_set() and (now := time.monotonic()) < began + QUEUED:
            self._beat()
            if self._outlet.newcomers != greeted:
                greeted = self._outlet.newcomers
                for broadcast, _ in self._runs.values():
                    broadcast.goodbye(ENDED)
            asked = max((control.asked_at for _, control in self._runs.values()), default=0.0)
            if now - max(began, asked, self._outlet.unrest()) > QUIET:
                return
            stop.wait(LOOK_S)

    def close(self) -> None:
        """End every run: its readers hear a goodbye and may still ask for what they lack."""
        for stream in list(self._runs):
            self._end(stream, more=False)

    @property
    def _counters(self) -> dict[str, int]:
        return {"packets": self._packets}

    def _is_running(self, logged: Logged) -> bool:
        running = self._runs.get(logged.packet.stream)
        return running is not None and running[0].epoch == logged.packet.epoch

    def begin(self, logged: Logged) -> Broadcast:
        """Return the run that a packet belongs to, begun if it is the first of its epoch."""
        stream, epoch = logged.packet.stream, logged.packet.epoch
        if stream in self._runs and not self._is_running(logged):
            self._end(stream, more=True)
        if stream not in self._runs:
            self._shown.begin(stream, epoch)
            broadcast, address = Broadcast(self._outlet, stream, epoch), self._outlet.address
            # Every stream has its own: on tcp it finds a free port, elsewhere it needs a name.
            bind = None if address.startswith("tcp://") else f"{address}.{stream}.control"
            control = ControlServer(broadcast.history, bind, address, log=self._shown, security=self._security)
            broadcast.control, broadcast.tokenizer = control.told, logged.packet.tokenizer
            self._runs[stream] = broadcast, control
            broadcast.status(0, self._counters)
        return self._runs[stream][0]

    def _end(self, stream: str, more: bool) -> None:
        broadcast, control = self._runs.pop(stream)
        broadcast.goodbye(ENDED, more)
        control.close(quiet=FAREWELL)

    def _beat(self) -> None:
        self._service.beat()
        for broadcast, control in self._runs.values():
            broadcast.status(0, self._counters)
            control.check()


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m stream.replay", examples=EXAMPLES))
