"""`python -m stream.tokenize`: files and folders of motion in, files of tokens out, no socket."""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once()

import multiprocessing
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from engine.command.cli import run
from engine.command.messages import plain
from engine.session import Backend, Precision
from engine.spec import load_tokenizer
from stream.errors import OutputError, SourceError, TokenizerError
from stream.files.bulk import Outcome, Task, To, begin, tokenize
from stream.files.inputs import Input, find_inputs, frames_in
from stream.motion.projection import Dims
from stream.pose.choice import PeopleFinder, PoseChoice, check_pose_size

SETTINGS = "tokenize.json"
"""The file in --out that says how what lies there was made."""

SIDE_BY_SIDE = 20_000
"""Frames of recordings that one worker takes at a time, so that short ones are encoded together."""

LOOK = 0.25
"""Seconds between looks at the progress."""

Job = list[tuple[Input, Path]]


@dataclass(frozen=True)
class Config:
    """Turn recordings into files of tokens, faster than real time: videos, npz recordings, Panoptic sequences and tars.

    Give files, or folders that are searched. Each input becomes one file in --out, whole or not at all; inputs whose
    file is there already are passed over, so a run that was stopped goes on where it was. docs/files.md has every
    column.
    """

    EXITS: ClassVar = (3, 4, 5, 7, 10, 13, 14)

    GROUPS: ClassVar = {
        "most used": ("out", "to", "tokenizer", "dims", "decode"),
        "more": ("jobs", "max_persons", "pose", "pose_size", "pose_model", "backend", "precision", "force"),
    }

    inputs: list[str]
    """Files, Panoptic sequences, or folders of them."""
    out: str | None = None
    """Folder to write to; it is made if it does not exist."""
    to: To = "npz"
    """Format of the files: arrays, Parquet, JSON lines, packed with a prior (stream.unpack), or a token log (db) to be
    replayed or exported."""
    decode: bool = False
    """Add the joints of every packet and their confidence; not for db."""
    tokenizer: str | None = None
    """Name of a shipped tokenizer or a tokenizer directory; by default heatmap2d-f8 or heatmap3d-f8, as --dims says."""
    dims: Dims | None = None
    """2d: image coordinates, px; 3d: cm. By default those of the tokenizer, else 2d."""
    jobs: int = 1
    """Processes that work at the same time: for videos, up to one a core."""
    max_persons: int | None = None
    """Most people to follow at once in a video; by default 6 with movenet, 2 with mediapipe."""
    pose: PoseChoice = "auto"
    """What finds people in videos, as for the producer."""
    pose_size: int | None = None
    """Longer side, px, at which movenet looks at images, as for the producer."""
    pose_model: str | None = None
    """MediaPipe pose landmarker (.task) for videos; by default as for the producer."""
    backend: Backend = "auto"
    """Engine that runs the tokenizer."""
    precision: Precision = "fp32"
    """What the engine computes in."""
    force: bool = False
    """Make all files again."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if self.out is None:
            raise ValueError("--out is needed: name a folder to write to")
        if self.jobs < 1 or (self.max_persons is not None and self.max_persons < 1):
            raise ValueError("--jobs and --max-persons must be at least 1")
        check_pose_size(self.pose_size)
        if self.decode and self.to in ("db", "packed"):
            raise ValueError("--decode goes with npz, parquet and jsonl; a log is decoded when it is read")

    @property
    def folder(self) -> Path:
        """Where to write to."""
        assert self.out is not None  # checked above
        return Path(self.out)


EXAMPLES = """
  python -m stream.tokenize dance.mp4 --out tokens
  python -m stream.tokenize recordings/ --dims 3d --to parquet --decode --out tokens
  python -m stream.tokenize videos/ more/*.mp4 --jobs 4 --to db --out tokens
"""


def main(config: Config, stop: threading.Event) -> None:
    """Tokenize all inputs that are not done. Raises SourceError at the end if some had to be left out."""
    console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    name = config.tokenizer or f"heatmap{config.dims or '2d'}-f8"
    spec = load_tokenizer(name).spec
    if config.dims and config.dims != f"{spec.dims}d":
        raise TokenizerError(f"tokenizer {name} is {spec.dims}d: leave out --dims {config.dims}")
    people = PeopleFinder(config.pose, config.pose_size, config.pose_model, config.max_persons, spec.fps)
    task = Task(name, config.backend, config.precision, config.to, config.decode, people)
    folder = config.folder
    inputs = find_inputs([Path(path) for path in config.inputs], without=folder)
    _settle(folder, {"tokenizer": spec.label, "to": config.to, "decode": config.decode}, config.force)
    planned = [(given, folder / f"{given.name}.{config.to}") for given in inputs]
    due = [(given, out) for given, out in planned if config.force or not out.exists()]
    if len(due) < len(inputs):
        console.print(f"{len(inputs) - len(due)} of {len(inputs)} inputs are done already", markup=False)
    if not due:
        return
    began = time.monotonic()
    outcomes = _work(due, task, config.jobs, console, stop)
    _summarize(outcomes, time.monotonic() - began, console)
    if stop.is_set():
        console.print(f"stopped: {len(due) - len(outcomes)} inputs are left for the next run", markup=False)
    elif faults := sum(outcome.fault is not None for outcome in outcomes):
        raise SourceError(f"{faults} of {len(due)} inputs were skipped, for the reasons above; the others are done")


def _settle(folder: Path, settings: dict[str, Any], force: bool) -> None:
    """Note how the files in a folder are made. Raises OutputError where those in it were made otherwise."""
    file = folder / SETTINGS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = msgspec.json.decode(file.read_bytes()) if file.is_file() and not force else settings
        if before != settings:
            raise OutputError(
                f"{folder} holds files made with {_told(before)}, not {_told(settings)}: choose another --out, or "
                "--force to make all again"
            )
        file.write_bytes(msgspec.json.format(msgspec.json.encode(settings)) + b"\n")
    except msgspec.DecodeError:
        raise OutputError(f"{file} is damaged: choose another --out, or --force to make all again") from None
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror or error}: check rights and space") from error


def _told(settings: Any) -> str:
    if not isinstance(settings, dict):
        return repr(settings)
    return f"{settings.get('tokenizer')} as {settings.get('to')}{', decoded' if settings.get('decode') else ''}"


def _work(due: Job, task: Task, jobs: int, console: Console, stop: threading.Event) -> list[Outcome]:
    """Have workers do all that is due; return what became of what was finished. Raises what a worker raises."""
    lengths = [frames_in(given) for given, _ in due]
    # Not forked: neither MediaPipe nor OpenVINO survives that.
    context = multiprocessing.get_context("spawn")
    frames, end = context.Value("Q", 0), context.Event()
    outcomes: list[Outcome] = []
    progress = Progress(
        BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn(),
        console=console, disable=not console.is_terminal,
    )  # fmt: skip
    began = time.monotonic()
    with ProcessPoolExecutor(jobs, context, begin, (task, frames, end)) as pool, progress:
        bar = progress.add_task("starting", total=sum(lengths))
        pending: set[Future[list[Outcome]]] = {pool.submit(tokenize, job) for job in _jobs(due, lengths)}
        try:
            while pending and not stop.is_set():
                done, pending = wait(pending, LOOK, FIRST_COMPLETED)
                for future in done:
                    outcomes += future.result()
                rate = frames.value / (time.monotonic() - began)
                told = f"{len(outcomes)}/{len(due)} inputs, {rate:.0f} frames/s"
                progress.update(bar, completed=min(frames.value, sum(lengths)), description=told)
        except BrokenProcessPool as error:
            raise SourceError(
                "a worker process died, of a damaged video or for want of memory: start again, with fewer --jobs or "
                "without the last video; what is done stays"
            ) from error
        finally:
            end.set()
            pool.shutdown(wait=True, cancel_futures=True)
    return outcomes


def _jobs(due: Job, lengths: Sequence[int]) -> Iterator[Job]:
    """Yield what a worker takes at a time: a video alone, of the others several."""
    job: Job = []
    frames = 0
    for (given, out), length in zip(due, lengths, strict=True):
        if given.kind == "video":
            yield [(given, out)]
            continue
        job.append((given, out))
        frames += length
        if frames >= SIDE_BY_SIDE:
            yield job
            job, frames = [], 0
    if job:
        yield job


def _summarize(outcomes: Sequence[Outcome], seconds: float, console: Console) -> None:
    """Say what came of it: first what was skipped and why, then the sums."""
    for outcome in outcomes:
        if outcome.fault is not None:
            console.print(plain(f"skipped {outcome.input.path}: {outcome.fault}"), markup=False)
    done = [outcome for outcome in outcomes if outcome.fault is None]
    frames, people, hops = (sum(getattr(o, what) for o in done) for what in ("frames", "people", "hops"))
    poses = sum(outcome.poses for outcome in done)
    console.print(
        f"{len(done)} inputs, {people} people, {hops} hops of tokens: {frames} frames ({poses} poses) in {seconds:.1f} "
        f"s, {frames / seconds:.0f} frames/s",
        markup=False,
    )


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m stream.tokenize", examples=EXAMPLES))
