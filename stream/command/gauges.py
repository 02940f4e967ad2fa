"""What a producer and a reader show of themselves through a `Monitor`."""

import time
from collections.abc import Callable
from typing import Protocol

from stream.client import TokenStream
from stream.command.metrics import Monitor
from stream.command.report import Report
from stream.log.background import LogWriter
from stream.log.writer import TokenLog
from stream.publish.control import ControlCounters

SILENT = 5.0
"""Seconds without a frame, or without a sign of life, after which all is not well."""

RECONNECTS = "reconnects"
"""The source's count that is not a drop."""


class Running(Protocol):
    """A producer's run, as far as it is shown; read from another thread."""

    report: Report

    @property
    def counters(self) -> dict[str, int]:
        """Totals since the start: frames, packets, and what was left out by cause."""

    @property
    def people(self) -> int:
        """How many are followed now."""

    @property
    def ids(self) -> int:
        """Ids published so far."""

    @property
    def waiting(self) -> int:
        """Frames that wait to be encoded."""


def show_run(monitor: Monitor, run: Running) -> None:
    """Show the frames, packets and people of a producer; it is well while frames come."""

    def losses() -> dict[str, int]:
        others = ("frames", "packets", RECONNECTS)
        return {name: count for name, count in run.counters.items() if name not in others}

    counts = ("frames", "Frames taken from the source."), ("packets", "Packets published.")
    for name, told in counts:
        monitor.show(name, told, "counter", _reader(run, name))
    monitor.show("reconnects", "Reconnections to the source.", "counter", _reader(run, RECONNECTS))
    monitor.show("dropped", "What was left out, by cause.", "counter", losses, "cause")
    monitor.show("ids", "Ids published.", "counter", lambda: run.ids)
    monitor.show("people", "People followed now.", "gauge", lambda: run.people)
    monitor.show("fps", "Frames per second, lately.", "gauge", lambda: run.report.fps)
    monitor.show("queue_frames", "Frames that wait to be encoded.", "gauge", lambda: run.waiting)
    begin = time.monotonic()

    def silence() -> str | None:
        silent = time.monotonic() - (run.report.last_frame or begin)
        return f"no frame for {silent:.0f} s: the source hangs or is connecting again" if silent > SILENT else None

    monitor.check("source", silence)


def show_log(monitor: Monitor, log: TokenLog, depth: Callable[[], int]) -> None:
    """Show the state of a log; it is well while it is complete. depth: packets that wait for the disk."""
    monitor.show("log_packets", "Packets of this run that are on the disk.", "counter", lambda: log.stored)
    monitor.show(
        "log_missing", "Packets of this run that are missing from the log.", "counter", lambda: log.missing.count
    )
    monitor.show(
        "log_complete", "1 while no packet of this run is missing from the log.", "gauge", lambda: not log.missing.count
    )
    monitor.show("queue_log", "Packets that wait for the disk.", "gauge", depth)
    monitor.check("log", lambda: _lacking(log))


def show_writer(monitor: Monitor, writer: LogWriter) -> None:
    """Show the state of a producer's log."""
    show_log(monitor, writer.log, lambda: writer.depth)


def show_control(monitor: Monitor, counters: ControlCounters) -> None:
    """Show what a producer's control socket did."""
    monitor.show("control_requests", "Requests to the control socket.", "counter", lambda: counters.requests)
    monitor.show("control_refused", "Requests answered by an error.", "counter", lambda: counters.refused)
    monitor.show("replayed_packets", "Packets handed out again to fill gaps.", "counter", lambda: counters.packets)


def show_reader(monitor: Monitor, stream: TokenStream) -> None:
    """Show what a reader heard; it is well while producers give signs of life."""
    names = ("received", "gaps", "duplicates", "late", "invalid", "repaired", "stale")

    def counts() -> dict[str, int]:
        return {name: getattr(stream.total, name) for name in names}

    monitor.show("reader_packets", "What became of the packets.", "counter", counts, "outcome")
    monitor.show("producer_restarts", "Producer restarts.", "counter", lambda: _restarts(stream))
    monitor.show("reconnects", "Dead links reconnected.", "counter", lambda: stream.reconnects)
    monitor.show("queue_order", "Packets that wait for earlier ones.", "gauge", lambda: stream.waiting)
    monitor.show("streams", "Streams heard.", "gauge", lambda: len(stream.streams))
    begin = time.monotonic()

    def silence() -> str | None:
        silent = time.monotonic() - (stream.heard_at or begin)
        return f"nothing heard for {silent:.0f} s: the producer is gone or cut off" if silent > SILENT else None

    monitor.check("producer", silence)


def _restarts(stream: TokenStream) -> int:
    return sum(state.restarts for state in list(stream.streams.values()))


def _reader(run: Running, name: str) -> Callable[[], int]:
    return lambda: run.counters.get(name, 0)


def _lacking(log: TokenLog) -> str | None:
    return f"{log.missing.count} packets are missing: {log.missing.why}" if log.missing.count else None
