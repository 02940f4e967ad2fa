"""Recordings to files of tokens, many at a time: what a worker process of `python -m stream.tokenize` does."""

import hashlib
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from engine.session import Backend, Precision
from stream.codec.decode import Motion
from stream.codec.encode import Hop
from stream.errors import KinetokenError
from stream.files.inputs import Input, Recording, open_input
from stream.files.writers import open_writer, whole_file, write_log
from stream.log.reader import Logged
from stream.motion.projection import Dims
from stream.pose.choice import PeopleFinder
from stream.sources.base import PoseFrame, Unit
from stream.tokenizer import Tokenizer
from stream.wire.packets import Packet, encode, pack_ids

To = Literal["npz", "parquet", "jsonl", "packed", "db"]

COUNTED = 32
"""Frames after which the progress is told, and the stop is seen."""


@dataclass(frozen=True)
class Task:
    """How all inputs are tokenized."""

    tokenizer: str
    backend: Backend
    precision: Precision
    to: To
    decode: bool
    people: PeopleFinder


@dataclass
class Outcome:
    """What became of an input. fault: why there is no output, None if there is."""

    input: Input
    frames: int = 0
    poses: int = 0  # of all people
    people: int = 0
    hops: int = 0
    fault: str | None = None


class Flag(Protocol):
    """Of any process: set once, never cleared."""

    def is_set(self) -> bool:
        """Whether it is set."""


class Stopped(Exception):
    """The user has asked for the end."""


class Worker:
    """Tokenizes inputs. frames: a number shared with the process that shows the progress; stop: of all processes."""

    def __init__(self, task: Task, frames: Any, stop: Flag) -> None:
        self._task, self._frames, self._stop = task, frames, stop
        self._tokenizer = Tokenizer(task.tokenizer, task.backend, task.precision)
        self._dims: Dims = "3d" if self._tokenizer.dims == 3 else "2d"

    def tokenize(self, inputs: Sequence[tuple[Input, Path]]) -> list[Outcome]:
        """Write the tokens of each input to its file, all recordings encoded side by side.

        Raises OutputError where a file cannot be written, Stopped at the stop.
        """
        outcomes = [Outcome(given) for given, _ in inputs]
        recordings: list[tuple[Outcome, Recording]] = []
        for outcome in outcomes:
            try:
                opened = open_input(outcome.input, self._dims, self._task.people)
                recordings += [(outcome, recording) for recording in opened]
            except (KinetokenError, OSError) as error:
                outcome.fault = str(error)
        hops = self._tokenizer.encode_frames([self._watched(*each) for each in recordings])
        motions = self._tokenizer.decode_hops(hops) if self._task.decode else None
        for outcome, out in [(o, path) for o, (_, path) in zip(outcomes, inputs, strict=True)]:
            mine = [n for n, (whose, _) in enumerate(recordings) if whose is outcome]
            logged: list[Logged] = []
            for n in mine:
                logged += self._logged(outcome, recordings[n][1], hops[n], motions[n] if motions else None)
            if not logged and outcome.fault is None:
                outcome.fault = "nobody is seen in it"
            if outcome.fault is None:
                self._write(out, logged)
        return outcomes

    def _watched(self, outcome: Outcome, recording: Recording) -> Iterator[PoseFrame]:
        """Yield the frames and count them; what goes wrong ends the recording and is noted."""
        counted = 0
        frames = iter(recording.frames)
        while True:
            try:
                frame = next(frames, None)
            except (KinetokenError, OSError) as error:
                outcome.fault, frame = str(error), None
            counted += 1
            if frame is None or counted == COUNTED:
                with self._frames.get_lock():
                    self._frames.value += counted - (frame is None)
                counted = 0
                if self._stop.is_set():
                    raise Stopped
            if frame is None:
                return
            outcome.frames += 1
            outcome.poses += len(frame.people)
            yield frame

    def _logged(
        self, outcome: Outcome, recording: Recording, hops: Sequence[Hop], motions: Sequence[Motion] | None
    ) -> Iterator[Logged]:
        """Yield the packets that a producer of this recording would have sent."""
        label, unit = self._tokenizer.label, recording.unit
        # The same input gives the same file, so the run is named by what went in, not by chance.
        epoch = hashlib.sha256(f"{outcome.input.name}\0{recording.stream}\0{label}".encode()).digest()[:16]
        seqs: dict[int, int] = {}
        for number, hop in enumerate(hops):
            seq = seqs[hop.track] = seqs.get(hop.track, -1) + 1
            packet = self._packet(recording.stream, unit, epoch, seq, hop)
            frame = encode(packet) if self._task.to == "db" else b""
            yield Logged(packet, frame, packet.wall, packet.t, motions[number] if motions else None)
        outcome.people += len(seqs)
        outcome.hops += len(hops)

    def _packet(self, stream: str, unit: Unit, epoch: bytes, seq: int, hop: Hop) -> Packet:
        tokenizer = self._tokenizer
        shape, tokens = pack_ids(hop.ids)
        return Packet(
            stream=stream,
            track=hop.track,
            epoch=epoch,
            seq=seq,
            frame=hop.frame,
            t=hop.captured_ns,
            wall=hop.captured_ns,
            fps=tokenizer.fps,
            hop=tokenizer.hop,
            tokenizer=tokenizer.label,
            shape=shape,
            tokens=tokens,
            box=hop.box,
            unit=unit,
            observed=hop.observed,
            reset=hop.reset,
        )

    def _write(self, out: Path, logged: list[Logged]) -> None:
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(out, force=True) as part:
            if self._task.to == "db":
                write_log(part, logged)
                return
            with part.open("wb") as file:
                writer = open_writer(self._task.to, file)
                writer.add(logged)
                writer.close()


_worker: Worker | None = None  # of this process


def begin(task: Task, frames: Any, stop: Flag) -> None:
    """Make the worker of this process. Ctrl-C is the business of the process that started it."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker = Worker(task, frames, stop)


def tokenize(inputs: Sequence[tuple[Input, Path]]) -> list[Outcome]:
    """Have the worker of this process tokenize these inputs."""
    assert _worker is not None
    return _worker.tokenize(inputs)
