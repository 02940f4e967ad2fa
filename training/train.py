"""Train a tokenizer: python -m training.train heatmap2d-f8 [key=value ...] [--resume RUN].

Ctrl-C ends the step in hand and saves, with exit code 130; --resume goes on to the same losses.
"""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once(130)

import os
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch.multiprocessing.spawn import ProcessException

from engine.command.cli import POSITIONAL, run
from engine.errors import StoppedError
from stream.motion.clock import FPS
from training.config import TrainConfig, different, find_config, load_config, refusing, save_config, shipped_configs
from training.evaluation.validation import film, look, read_sets
from training.predictive import run as predictive
from training.predictive.config import PredictiveTrainConfig, is_predictive
from training.predictive.config import load_config as load_predictive
from training.run import distributed as parallel
from training.run import provenance
from training.run.batches import BatchLoader, make_sampler
from training.run.checkpoint import load_trained, start_from
from training.run.journal import Journal
from training.run.stop import stoppable
from training.run.throughput import flop_per_sample, peak
from training.run.trainer import Run


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
        feed = BatchLoader(sampler, config, parallel.rank())
        stack.callback(feed.close)
        journal = None
        if leads:
            folder.mkdir(parents=True, exist_ok=True)
            save_config(config, folder / "config.yaml")
            provenance.write(config.data, config.seed, folder, run.step)
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
                journal.say(f"stopped at step {run.step}; continue with python -m training.train --resume {folder}")
    return not stopped


@dataclass(frozen=True)
class Config:
    """Train a tokenizer. Ctrl-C finishes the current step and saves; --resume continues with the same losses."""

    EXITS: ClassVar = (5, 14, 130)

    words: list[str] = field(default_factory=list, metadata=POSITIONAL)
    """A configuration, by the name of one that ships or as a YAML file, and key=value over it, as optim.steps=100."""
    resume: Path | None = None
    """Resume the run in this folder, with its own configuration unless one is given."""
    devices: int = 1
    """Train data-parallel on this many GPUs or, without a GPU, in this many processes."""
    precision: Literal["bf16", "fp32"] | None = None
    """Of the matrix products; short for optim.bfloat16."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if self.devices < 1:
            raise ValueError(f"--devices {self.devices}: at least 1")
        if len(self.files) > 1:
            raise ValueError(f"one configuration, not {' and '.join(self.files)}")

    @property
    def files(self) -> list[str]:
        """The words that name a configuration."""
        return [word for word in self.words if "=" not in word]

    @property
    def changes(self) -> list[str]:
        """The pairs key=value over the configuration."""
        precise = [f"optim.bfloat16={self.precision == 'bf16'}"] if self.precision else []
        return [*(word for word in self.words if "=" in word), *precise]


EXAMPLES = """
  python -m training.train heatmap2d-f8 data.root=data
  python -m training.train heatmap2d-f8 name=mine start_from=heatmap2d-f8 data.root=data optim.plain_steps=0
  python -m training.train predictive2d-f8 data.root=data
  python -m training.train --resume runs/mine
"""


AnyConfig = TrainConfig | PredictiveTrainConfig


def load(file: Path, changes: list[str]) -> AnyConfig:
    """Read a configuration of either kind."""
    return load_predictive(file, changes) if is_predictive(file) else load_config(file, changes)


def read_config(file: str | None, changes: list[str], resume: Path | None) -> AnyConfig:
    """Return the configuration that a command line asks for.

    A resumed run keeps what its result hangs on, but for `optim.steps=` said in so many words. Raises ValueError where
    it would not, and what `load_config` raises.
    """
    if resume is None:
        if file is None:
            raise ValueError(f"name a configuration: a YAML file, or one of {', '.join(shipped_configs())}")
        return load(find_config(file), changes)
    known = load(resume / "config.yaml", [])
    config = load(find_config(file) if file else resume / "config.yaml", changes)
    differing = different(known, config)
    if any(change.startswith("optim.steps=") for change in changes):
        differing.pop("optim.steps", None)
    if differing:
        raise ValueError(
            f"{resume} is a run of another configuration: "
            + ", ".join(f"{key}={was}, not {now}" for key, (was, now) in differing.items())
            + f". Continue unchanged with --resume {resume} and no file; for a new run with other settings start "
            f"from its weights, start_from={resume}"
        )
    return config


def main(config: Config, stop: threading.Event) -> None:
    """Train. Raises UsageError where the configuration or the recordings cannot be used."""
    with refusing():
        if config.resume and not (config.resume / "checkpoint.pt").is_file():
            raise ValueError(f"no run to resume in {config.resume}: it holds no checkpoint.pt")
        made = read_config(next(iter(config.files), None), config.changes, config.resume)
        folder = config.resume or Path(made.runs) / made.name
        if not config.resume and (folder / "checkpoint.pt").exists():
            raise ValueError(f"{folder} already holds a run: continue with --resume {folder}, or give another name=...")
        try:
            ended = start(made, folder, config.resume is not None, config.devices)
        except KeyboardInterrupt:
            raise StoppedError("stopped at once: the last checkpoint is kept") from None
    if not ended:
        raise StoppedError("stopped before the last step; the run is kept")


def start(config: AnyConfig, folder: Path, resume: bool, devices: int) -> bool:
    """Train in this process, or in one for each device; return whether it came to the end."""
    if isinstance(config, PredictiveTrainConfig):
        if devices > 1:
            raise ValueError(f"--devices {devices}: a predictive tokenizer is trained in one process")
        return predictive.train(config, folder, resume)
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
    sys.exit(run(main, Config, prog="python -m training.train", examples=EXAMPLES, batch=True))
