"""`python -m stream.bench`: latency and load of the live system on this machine, in real time, and the most people.

Latency runs from the capture of a hop's last frame to its receipt in another process. Nothing here passes or fails.
"""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once()

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import psutil
from rich import box
from rich.console import Console
from rich.table import Table

from engine.command.cli import run
from stream.client import TokenStream
from stream.command.child import ProducerProcess
from stream.errors import KinetokenError, SourceError, TokenizerError
from stream.multiview.benchmark import measure as measure_views
from stream.multiview.benchmark import open_folder, steadiness_table_of, table_of, ticks_of, watch
from stream.multiview.one_camera import measure_places, places_table_of
from stream.pose.choice import PeopleFinder
from stream.pose.model_file import look_for_pose_model
from stream.pose.movenet import SIZES
from stream.sources.demo import MAX_PEOPLE
from stream.tokenizer import Tokenizer
from stream.wire.packets import Packet, Status

PEOPLE = (1, 4, 16)

STEP = 4
"""People more or less at which the search for the largest number ends."""

WIDTH = 120

MULTIVIEW_PEOPLE = 3
"""People that MediaPipe follows for --multiview; each further one costs it a pass."""

WARM = 2.0
"""Seconds at the start that are not counted: the first steps of a process are slow everywhere."""


@dataclass(frozen=True)
class Config:
    """Measure the latency and load of a real-time producer: 1, 4 and 16 people, and a video if you give one.

    With --people-limit instead, the most people before a hop is late: received after the person's next hop has ended.
    With --multiview, by how much calibrated cameras disagree about the same people, before and after the tokens.
    """

    EXITS: ClassVar = (3, 4, 5, 10, 13)

    seconds: float = 30.0
    """Length of each measurement."""
    video: str | None = None
    """Video file to run through the pose estimator, looped."""
    pose_model: str | None = None
    """MediaPipe's model for the video, which is looked at with MoveNet otherwise, or in 3D as the producer does."""
    dims: str = "2d"
    """2d or 3d."""
    people_limit: bool = False
    """Look for the most people of the demo that this machine keeps up with."""
    multiview: str | None = None
    """Folder with videos of one scene, begun at the same moment, each named after its camera, and Qualisys' calibration
    (.qca.txt). MoveNet is measured, and MediaPipe where its model is at hand (--pose-model)."""
    tokenizer: str = "heatmap2d-f8"
    """2D tokenizer for --multiview: a shipped one or a directory; several with commas between them."""
    json: str | None = None
    """Write the figures to this file too."""

    def __post_init__(self) -> None:
        """Raise ValueError for a measurement too short to say anything."""
        if self.seconds < 5:
            raise ValueError(f"--seconds {self.seconds:g}: at least 5")
        if self.dims not in ("2d", "3d"):
            raise ValueError(f"--dims {self.dims}: 2d or 3d")
        if self.people_limit and self.video is not None:
            raise ValueError("--people-limit is measured with the demo: leave out --video")
        if self.multiview is not None and (self.people_limit or self.video is not None):
            raise ValueError("--multiview is a measurement of its own: leave out --video and --people-limit")


@dataclass(frozen=True)
class Row:
    """One measurement. Latencies in ms; cpu: mean share of one core; dropped: frames and packets that went missing;
    late: hops received after the person's next hop has ended."""

    what: str
    packets: int
    p50: float
    p99: float
    longest: float
    cpu: float
    memory_mib: float
    dropped: int
    late: int


def measure(what: str, flags: list[str], seconds: float, stop: threading.Event) -> Row | None:
    """Run a producer for `seconds` and read it; None where `stop` is set before the end."""
    latencies: list[float] = []
    dropped = late = 0
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
            if isinstance(heard.message, Status):
                dropped = sum(count for name, count in heard.message.counters.items() if "dropped" in name)
            if begin is None and isinstance(heard.message, Packet):
                begin = clock()
            if begin is None or clock() < begin + WARM:
                used = _cpu_seconds(process)
            elif isinstance(heard.message, Packet) and heard.latency_ms is not None and _whole(heard.message):
                latencies.append(heard.latency_ms)
                late += heard.latency_ms > 1000 * heard.message.hop / heard.message.fps
        if stop.is_set():
            return None
        if not latencies:
            said = producer.process.stderr.read() if producer.process.stderr and producer.end() else ""
            raise KinetokenError(f"{what}: no packets; the producer said: {' '.join(said.split())[-300:]}")
        cpu = (_cpu_seconds(process) - used) / seconds
        memory = process.memory_info().rss / 2**20
        p50, p99 = np.percentile(latencies, [50, 99])
        lost = dropped + stream.total.gaps
        return Row(what, len(latencies), float(p50), float(p99), max(latencies), cpu, memory, lost, late)


def people_limit(keeps_up: Callable[[int], bool]) -> int:
    """Return the most people, to within `STEP`, that a machine keeps up with: doubled until it does not, then bisected.

    0 where it does not keep up with `STEP` people; at most `MAX_PEOPLE`.
    """
    good, bad = 0, STEP
    while keeps_up(bad):
        good, bad = bad, min(2 * bad, MAX_PEOPLE)
        if good == MAX_PEOPLE:
            return good
    while bad - good > STEP:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if keeps_up(middle) else (good, middle)
    return good


def find_limit(config: Config, stop: threading.Event) -> list[Row]:
    """Measure crowds of the demo until the limit is found, and print it."""
    rows: list[Row] = []

    def in_time(people: int) -> bool:
        flags = ["--demo", "--max-persons", str(people), "--dims", config.dims]
        row = measure(f"demo, {people} people", flags, config.seconds, stop)
        if row is None:
            return False
        rows.append(row)
        print(f"{people} people: p99 {row.p99:.1f} ms, late {row.late}", file=sys.stderr)
        return row.late == 0

    # A machine that had something else to do for a moment gets a second chance.
    most = people_limit(lambda people: in_time(people) or in_time(people))
    if not stop.is_set():
        print(f"up to {most} people at 30 fps, each hop received before the next one of that person has ended\n")
    return sorted(rows, key=lambda row: int(row.what.split()[1]))


def main(config: Config, stop: threading.Event) -> None:
    """Measure, print, write."""
    if config.multiview is not None:
        multiview(config, stop)
        return
    if config.video is not None and not Path(config.video).is_file():
        raise SourceError(f"no video {config.video}: give a file with --video")
    plans = [
        (f"demo, {people} people" if people > 1 else "demo, 1 person", ["--demo", "--max-persons", str(people)])
        for people in PEOPLE
    ]
    if config.video is not None:
        model = ["--pose-model", config.pose_model] if config.pose_model else []
        plans.append((f"video {Path(config.video).name}", ["--video", config.video, "--loop", *model]))
    rows = find_limit(config, stop) if config.people_limit else []
    for what, flags in [] if config.people_limit else plans:
        row = measure(what, [*flags, "--dims", config.dims], config.seconds, stop)
        if row is None:
            return
        rows.append(row)
        print(f"{what}: p99 {row.p99:.1f} ms", file=sys.stderr)
    _print(rows)
    if config.json:
        Path(config.json).write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")


def multiview(config: Config, stop: threading.Event) -> None:
    """Measure cameras against each other, print, write."""
    videos, cameras = open_folder(Path(config.multiview or ""))
    tokenizers = [Tokenizer(name) for name in config.tokenizer.split(",")]
    for tokenizer in tokenizers:
        if tokenizer.dims != 2:
            raise TokenizerError(f"{tokenizer.label} takes 3D poses: --multiview measures 2D tokenizers")
    finders = [PeopleFinder("movenet"), *(PeopleFinder("movenet", size) for size in SIZES)]
    path, missing = look_for_pose_model(config.pose_model)
    if missing is None:
        finders.append(PeopleFinder("mediapipe", model=str(path), max_persons=MULTIVIEW_PEOPLE))
    else:
        print(f"mediapipe is not measured: its model {missing} ({path}); name it with --pose-model", file=sys.stderr)
    reference = [ticks_of(frames) for frames in watch(videos, PeopleFinder("movenet", max(SIZES)), stop)[0]]
    results = []
    for finder in finders:
        results.append(measure_views(videos, cameras, finder, tokenizers, reference, stop))
        if stop.is_set():
            return
        print(f"{results[-1].estimator}: {results[-1].poses.mean:.2f} cm", file=sys.stderr)
    places = measure_places(videos, cameras, path, MULTIVIEW_PEOPLE, reference, stop) if missing is None else []
    console = Console(width=WIDTH)
    for table in (table_of(results), steadiness_table_of(results), *([places_table_of(places)] if places else [])):
        console.print(table)
    if config.json:
        figures = {"estimators": [asdict(one) for one in results], "one camera": [asdict(one) for one in places]}
        Path(config.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _whole(packet: Packet) -> bool:
    """Whether the hop's last frame was seen: one cut short by a gap goes out with the first frame after it."""
    return bool(packet.observed >> (packet.hop - 1) & 1)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _print(rows: list[Row]) -> None:
    print(f"{psutil.cpu_count()} cores, real time at 30 fps, latency from capture to receipt\n")
    table = Table(box=box.MARKDOWN)
    for heading in (
        "source",
        "packets",
        "p50 ms",
        "p99 ms",
        "max ms",
        "p99 ratio",
        "cores used",
        "MiB",
        "lost",
        "late",
    ):
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
            str(row.late),
        )
    Console(width=WIDTH).print(table)


EXAMPLES = """
  python -m stream.bench
  python -m stream.bench --seconds 60 --video two_people.mp4 --json figures.json
  python -m stream.bench --seconds 20 --people-limit
  python -m stream.bench --multiview scene/ --tokenizer heatmap2d-f8,heatmap2d-low-latency
"""

if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m stream.bench", examples=EXAMPLES))
