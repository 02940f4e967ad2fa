"""`python -m stream.bench`: latency and load of the live system on this machine, in real time.

Latency runs from the capture of a hop's last frame to its receipt in another process. Nothing here passes or fails.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
from rich import box
from rich.console import Console
from rich.table import Table

from stream.child import ProducerProcess
from stream.cli import run
from stream.client import TokenStream
from stream.errors import KinetokenError, SourceError
from stream.wire import Packet, Status

PEOPLE = (1, 4, 16)

WIDTH = 120

WARM = 2.0
"""Seconds at the start that are not counted: the first steps of a process are slow everywhere."""


@dataclass(frozen=True)
class Config:
    """Measure the latency and load of a real-time producer: 1, 4 and 16 people, and a video if you give one."""

    seconds: float = 30.0
    """Length of each measurement."""
    video: str | None = None
    """Video file to run through MediaPipe, looped, two people followed."""
    pose_model: str | None = None
    """Pose model for the video, as for the producer."""
    dims: str = "2d"
    """2d or 3d."""
    json: str | None = None
    """Write the figures to this file too."""

    def __post_init__(self) -> None:
        """Raise ValueError for a measurement too short to say anything."""
        if self.seconds < 5:
            raise ValueError(f"--seconds {self.seconds:g}: at least 5")
        if self.dims not in ("2d", "3d"):
            raise ValueError(f"--dims {self.dims}: 2d or 3d")


@dataclass(frozen=True)
class Row:
    """One measurement. Latencies in ms; cpu: mean share of one core; dropped: frames and packets that went missing."""

    what: str
    packets: int
    p50: float
    p99: float
    longest: float
    cpu: float
    memory_mib: float
    dropped: int


def measure(what: str, flags: list[str], seconds: float, stop: threading.Event) -> Row:
    """Run a producer for `seconds` and read it."""
    latencies: list[float] = []
    dropped = 0
    with ProducerProcess(flags, stderr=subprocess.PIPE) as producer, TokenStream(producer.address) as stream:
        clock: Callable[[], float] = time.monotonic
        begin: float | None = None
        process = psutil.Process(producer.process.pid)
        used = 0.0
        while begin is None or clock() < begin + WARM + seconds:
            if stop.is_set() or producer.process.poll() is not None:
                break
            heard = stream.poll(0.2)
            if heard is None:
                continue
            if begin is None:
                begin = clock()
            if isinstance(heard.message, Status):
                dropped = sum(count for name, count in heard.message.counters.items() if "dropped" in name)
            if clock() < begin + WARM:
                used = _cpu_seconds(process)
            elif isinstance(heard.message, Packet) and heard.latency_ms is not None and _whole(heard.message):
                latencies.append(heard.latency_ms)
        if not latencies:
            said = producer.process.stderr.read() if producer.process.stderr and producer.end() else ""
            raise KinetokenError(f"{what}: no packets; the producer said: {' '.join(said.split())[-300:]}")
        cpu = (_cpu_seconds(process) - used) / seconds
        memory = process.memory_info().rss / 2**20
        p50, p99 = np.percentile(latencies, [50, 99])
        lost = dropped + stream.total.gaps
        return Row(what, len(latencies), float(p50), float(p99), max(latencies), cpu, memory, lost)


def main(config: Config, stop: threading.Event) -> None:
    """Measure, print, write."""
    if config.video is not None and not Path(config.video).is_file():
        raise SourceError(f"no video {config.video}: give a file with --video")
    plans = [
        (f"demo, {people} people" if people > 1 else "demo, 1 person", ["--demo", "--max-persons", str(people)])
        for people in PEOPLE
    ]
    if config.video is not None:
        model = ["--pose-model", config.pose_model] if config.pose_model else []
        plans.append((f"video {Path(config.video).name}", ["--video", config.video, "--loop", *model]))
    rows = []
    for what, flags in plans:
        if stop.is_set():
            return
        rows.append(measure(what, [*flags, "--dims", config.dims], config.seconds, stop))
        print(f"{what}: p99 {rows[-1].p99:.1f} ms", file=sys.stderr)
    _print(rows)
    if config.json:
        Path(config.json).write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def _whole(packet: Packet) -> bool:
    """Whether the hop's last frame was seen: one cut short by a gap goes out with the first frame after it."""
    return bool(packet.observed >> (packet.hop - 1) & 1)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _print(rows: list[Row]) -> None:
    print(f"{psutil.cpu_count()} cores, real time at 30 fps, latency from capture to receipt\n")
    table = Table(box=box.MARKDOWN)
    for heading in ("source", "packets", "p50 ms", "p99 ms", "max ms", "p99 ratio", "cores used", "MiB", "lost"):
        table.add_column(heading, justify="left" if heading == "source" else "right")
    for row in rows:
        table.add_row(
            row.what,
            str(row.packets),
            f"{row.p50:.1f}",
            f"{row.p99:.1f}",
            f"{row.longest:.1f}",
            f"{row.p99 / rows[0].p99:.1f}",
            f"{row.cpu:.2f}",
            f"{row.memory_mib:.0f}",
            str(row.dropped),
        )
    Console(width=WIDTH).print(table)


EXAMPLES = """
  python -m stream.bench
  python -m stream.bench --seconds 60 --video two_people.mp4 --json figures.json
"""

if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m stream.bench", examples=EXAMPLES))
