"""SIGTERM and SIGINT at every stage of a run, once and twice."""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from stream.client import TokenStream
from stream.wire.packets import Goodbye

from .result import Figure, Plan, below, exactly, told
from .rig import PATIENCE, ROOT, Child, free_address, logged, producer, subscriber, wait_for

SIGNALS = (signal.SIGTERM, signal.SIGINT)
LIMIT = 2.0
SHARED = ROOT.parent / "shared"


@dataclass
class Stops:
    """How the processes of one stage ended."""

    stage: str
    codes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    orphans: int = 0
    tracebacks: list[str] = field(default_factory=list)
    """What was said where one was among it."""
    undone: int = 0
    """Ended by the signal itself: it came before Python could listen, and nothing was begun."""

    def stop(self, child: Child, number: int, again: float | None = None) -> None:
        """Signal a process, perhaps twice, and see how it ends."""
        begin = time.monotonic()
        child.send(number)
        if again is not None:
            time.sleep(again)
            if child.process.poll() is None:
                child.send(number)
        code = child.end()
        self.seconds.append(time.monotonic() - begin)
        if code == -number and not child.out and not child.err:
            self.undone += 1
        else:
            self.codes.append(code)
        self.orphans += child.orphans
        if "Traceback" in child.said:
            self.tracebacks.append(child.said)

    def figures(self) -> list[Figure]:
        """Return what came of it."""
        other = sorted({code for code in self.codes if code})
        more = [told(f"{self.stage}: too early to be heard", str(self.undone))] if self.undone else []
        return [
            exactly(f"{self.stage}: exit codes other than 0, of {len(self.codes)}", [], other),
            below(f"{self.stage}: longest time to the end", LIMIT, max(self.seconds), "s"),
            exactly(f"{self.stage}: orphans", 0, self.orphans),
            exactly(f"{self.stage}: tracebacks", 0, len(self.tracebacks)),
            *[told(f"{self.stage}: the first of them", " / ".join(said.split("\n"))) for said in self.tracebacks[:1]],
            *more,
        ]


def run(plan: Plan) -> list[Figure]:
    """Stop producers and readers at their start, while they load models, running and draining, and twice in a row.

    Each must end with 0 in under 2 s, leaving nothing behind. A producer that runs says in its goodbye which packet
    was its last: that one must be the last in the log.
    """
    times = 1 if plan.quick else 10
    return [
        *_start("producer at its start", producer("{address}", "--demo"), 2 * times, 1.5),
        *_start("reader at its start", subscriber("{address}"), 2 * times, 1.0),
        *([] if plan.quick else _models(times)),
        *_running(plan.scratch, times),
        *([] if plan.quick else _draining()),
        *_reader(times),
    ]


def _start(stage: str, command: list[str], times: int, longest: float) -> list[Figure]:
    chance = random.Random(4)
    stops = Stops(stage)
    for number in SIGNALS:
        for _ in range(times):
            address = free_address()
            with Child([part.format(address=address) for part in command]) as child:
                time.sleep(chance.uniform(0.0, longest))
                stops.stop(child, number)
    return stops.figures()


def _models(times: int) -> list[Figure]:
    video, model = SHARED / "data/video/two_people_indoor.mp4", SHARED / "models/pose_landmarker_full.task"
    if not (video.is_file() and model.is_file()):
        return [told("producer loading its pose model", "not run: no video or no pose model beside the checkout")]
    flags = ["--video", str(video), "--loop", "--pose-model", str(model)]
    return _start("producer loading its pose model", producer("{address}", *flags), times, 5.0)


def _running(scratch: Path, times: int) -> list[Figure]:
    figures = []
    for twice in (False, True):
        stops = Stops("producer running, signalled twice" if twice else "producer running")
        behind = 0
        for number in SIGNALS:
            for turn in range(times):
                log = scratch / f"{twice}-{number}-{turn}.db"
                address = free_address()
                with (
                    TokenStream(address) as stream,
                    Child(subscriber(address, "--log", str(log), "--once")) as logger,
                    Child(producer(address, "--demo", "--max-persons", "4")) as child,
                ):
                    wait_for(lambda: len(logger.out) > 8, "packets in the log")
                    stops.stop(child, number, again=0.05 if twice else None)
                    logger.end()
                    behind += _goodbye(stream) != _last(log)
        figures += [*stops.figures(), exactly(f"{stops.stage}: last sent is not last logged", 0, behind)]
    return figures


def _goodbye(stream: TokenStream) -> dict[int, int]:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        heard = stream.poll(0.2)
        if heard and isinstance(heard.message, Goodbye):
            return dict(heard.message.last)
    raise TimeoutError("no goodbye came")


def _last(log: Path) -> dict[int, int]:
    return {track: seq for _, track, _, seq in logged(log)}


def _draining() -> list[Figure]:
    figures = []
    for twice in (False, True):
        stops = Stops("producer draining, signalled twice" if twice else "producer draining")
        for number in SIGNALS:
            with _stuck_reader() as address:
                flags = ["--demo", "--rate", "max", "--duration", "60", "--max-persons", "16", "--wait", "60"]
                with Child(producer(address, *flags)) as child:
                    wait_for(lambda: "duration over" in child.said, "the end of the replay")
                    stops.stop(child, number, again=0.05 if twice else None)
        figures += stops.figures()
    return figures


@contextmanager
def _stuck_reader() -> Iterator[str]:
    """Give the address to which a reader is connected that takes nothing."""
    address = free_address()
    context = zmq.Context()
    socket = context.socket(zmq.SUB)
    socket.set(zmq.RCVHWM, 1)
    socket.set(zmq.RCVBUF, 4096)
    socket.subscribe(b"")
    socket.connect(address)
    try:
        yield address
    finally:
        socket.close(linger=0)
        context.term()


def _reader(times: int) -> list[Figure]:
    figures = []
    for twice in (False, True):
        stops = Stops("reader running, signalled twice" if twice else "reader running")
        address = free_address()
        with Child(producer(address, "--demo")):
            for number in SIGNALS:
                for _ in range(times):
                    with Child(subscriber(address, "--decode")) as child:
                        wait_for(lambda: child.out, "a first packet")
                        stops.stop(child, number, again=0.05 if twice else None)
        figures += stops.figures()
    return figures
