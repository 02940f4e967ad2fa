"""Train a tokenizer: python -m training.train configs/heatmap2d-f8.yaml [key=value ...] [--resume RUN].

Ctrl-C ends the step in hand and saves, with exit code 130; --resume goes on to the same losses.
"""

import argparse
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

import torch
from omegaconf.errors import OmegaConfBaseException
from torch.multiprocessing.spawn import ProcessException

from engine.errors import KinetokenError
from stream.motion.clock import FPS
from training.config import TrainConfig, different, load_config, save_config
from training.evaluation.validation import film, look, read_sets
from training.run import distributed as parallel
from training.run import provenance
from training.run.batches import Feed, make_sampler
from training.run.checkpoint import load_trained, start_from
from training.run.journal import Journal
from training.run.throughput import flop_per_sample, peak
from training.run.trainer import Run


class Stop:
    """Whether the run was asked to stop, by Ctrl-C or SIGTERM; asked a second time, it stops at once."""

    asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note the signal."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Let signals end the run between two steps."""
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(config: TrainConfig, folder: Path, resume: bool) -> bool:
    """Run a training to its last step, with a checkpoint now and then; return whether it came to the end.

    Raises what `make_sampler` and `Run.load` raise.
    """
    processes = parallel.world()
    threads = config.optim.threads or (max(1, (os.cpu_count() or 1) // processes) if processes > 1 else 0)
    if threads:
        torch.set_num_threads(threads)
    leads = parallel.rank() == 0
    sampler = make_sampler(config)
    sets = read_sets(config) if leads else {}
    run = Run(config, folder)
    said = ""
    if resume:
        run.load()
    elif config.start_from:
        said = start_from(run.network, config.start_from)
    with ExitStack() as stack:
        feed = Feed(sampler, config, parallel.rank())
        stack.callback(feed.close)
        journal = None
        if leads:
            folder.mkdir(parents=True, exist_ok=True)
            save_config(config, folder / "config.yaml")
            provenance.write(config, folder, run.step)
            samples = config.data.batch * processes
            precision = torch.bfloat16 if config.optim.bfloat16 else torch.float32
            at_peak = processes * peak(run.device, precision) / flop_per_sample(config, run.device)
            journal = stack.enter_context(Journal(folder, config.name, run.step, config.optim.steps, samples, at_peak))
            if said:
                journal.say(said)
        stop = stack.enter_context(stoppable())
        stopped = False
        while run.step < config.optim.steps and not stopped:
            terms = run.advance(feed)
            stopped = parallel.any_of_all(stop.asked)
            if journal is None:
                continue
            journal.add(run.step, terms, feed.waited)
            at_end = run.step == config.optim.steps
            if at_end or run.step % config.save_every == 0:
                run.save()
            if sets and (at_end or run.step % config.validate_every == 0) and not stopped:
                with journal.pause():
                    journal.unseen(run.step, look(run.network, sets))
                    journal.film(run.step, film(run.network, next(iter(sets.values()))[0]), FPS)
        if journal is not None:
            run.save()
            if stopped:
                journal.say(f"stopped at step {run.step}; go on with python -m training.train --resume {folder}")
    return not stopped


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train", description="Train a tokenizer.", allow_abbrev=False
    )
    parser.add_argument(
        "config", nargs="?", help="a YAML file, such as configs/heatmap2d-f8.yaml; with --resume by default the run's"
    )
    parser.add_argument("changes", nargs="*", help="key=value over the file, such as optim.steps=100")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with the run in this folder")
    parser.add_argument(
        "--devices",
        type=int,
        default=1,
        metavar="N",
        help="train data-parallel: N GPUs, or N processes on the CPU where there is none (default: %(default)s)",
    )
    parser.add_argument(
        "--precision", choices=("bf16", "fp32"), help="of the matrix products; shorthand for optim.bfloat16"
    )
    return parser


def read_config(file: str | None, changes: list[str], resume: Path | None) -> TrainConfig:
    """Return the configuration that a command line asks for.

    A resumed run keeps what its result hangs on, but for `optim.steps=` said in so many words. Raises ValueError where
    it would not, and what `load_config` raises.
    """
    if resume is None:
        if file is None:
            raise ValueError("name a configuration, such as configs/heatmap2d-f8.yaml")
        return load_config(Path(file), changes)
    known = load_config(resume / "config.yaml", [])
    config = load_config(Path(file) if file else resume / "config.yaml", changes)
    differing = different(known, config)
    if any(change.startswith("optim.steps=") for change in changes):
        differing.pop("optim.steps", None)
    if differing:
        raise ValueError(
            f"{resume} is a run of another configuration: "
            + ", ".join(f"{key}={was}, not {now}" for key, (was, now) in differing.items())
            + f". Go on as it was with --resume {resume} and no file; for a new run with other settings begin with its "
            f"weights, start_from={resume}"
        )
    return config


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and train."""
    parser = build_parser()
    args = parser.parse_intermixed_args(argv)
    if args.config and "=" in args.config:
        args.config, args.changes = None, [args.config, *args.changes]
    if args.resume and not (args.resume / "checkpoint.pt").is_file():
        parser.error(f"no run to resume in {args.resume}: it holds no checkpoint.pt")
    if args.devices < 1:
        parser.error(f"--devices must be 1 or more, not {args.devices}")
    changes = [*args.changes, *([f"optim.bfloat16={args.precision == 'bf16'}"] if args.precision else [])]
    try:
        config = read_config(args.config, changes, args.resume)
        folder = args.resume or Path(config.runs) / config.name
        if not args.resume and (folder / "checkpoint.pt").exists():
            parser.error(f"{folder} holds a run already: go on with --resume {folder}, or give another name=...")
        ended = start(config, folder, args.resume is not None, args.devices)
    except (OSError, ValueError, OmegaConfBaseException) as error:
        parser.error(str(error))
    except KinetokenError as error:
        parser.exit(error.exit_code, f"{parser.prog}: error: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "stopped at once: the last checkpoint is kept\n")
    if not ended:
        parser.exit(130)


def start(config: TrainConfig, folder: Path, resume: bool, devices: int) -> bool:
    """Train in this process, or in one for each device; return whether it came to the end."""
    if devices == 1:
        return train(config, folder, resume)
    gpus = torch.cuda.device_count() if parallel.wants_gpu(config.optim.device) else 0
    if gpus and devices > gpus:
        raise ValueError(f"--devices {devices}: this machine has {gpus}")
    try:
        parallel.launch(devices, partial(train, config, folder, resume), "nccl" if gpus else "gloo")
    except ProcessException as error:
        raise ValueError(str(error).strip().splitlines()[-1]) from error
    return load_trained(folder)[1] >= config.optim.steps


if __name__ == "__main__":
    main()
