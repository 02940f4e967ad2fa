"""Train the prior of a predictive tokenizer: python -m training.prior TOKENIZER --data PATH [PATH ...] --out DIR.

A prior says how probable each id is, given all that was decoded before it: `python -m stream.pack` codes tokens with
it, in less than half of their bits.
"""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once(130)

import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from rich.console import Console
from rich.progress import Progress

from engine.command.cli import run
from engine.errors import StoppedError
from engine.spec import load_tokenizer
from training.config import DataConfig, GroupConfig, refusing
from training.predictive.restore import restored
from training.priors.config import PriorConfig
from training.priors.export import export_prior
from training.priors.trainer import PriorRun

LINES = 10
"""Lines of a run that is not watched."""


@dataclass(frozen=True)
class Config:
    """Train the prior of a predictive tokenizer on recordings, best those that the tokenizer was trained on."""

    EXITS: ClassVar = (5, 10, 13, 14, 130)

    tokenizer: str
    """Name of a shipped tokenizer or a tokenizer directory."""
    data: list[Path] = field(default_factory=list)
    """Recordings to train on: npz files or folders of them. All are drawn from alike."""
    out: Path | None = None
    """Folder to write the prior to; it must not exist."""
    steps: int = 1500
    """Steps of training."""
    batch: int = 48
    """Windows a step."""
    hops: int = 12
    """Hops of a window."""
    workers: int = 0
    """Processes that draw windows ahead."""
    seed: int = 0
    """Of all that is drawn."""
    device: str = "auto"
    """A GPU where there is one, else the CPU."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if not self.data:
            raise ValueError("--data: name recordings to train on")
        if self.out is None:
            raise ValueError("--out: name a folder to write to")
        if self.out.exists():
            raise ValueError(f"--out {self.out} exists: remove it, or give another")
        if min(self.steps, self.batch) < 1 or self.hops < 2 or self.workers < 0:
            raise ValueError("--steps and --batch must be at least 1, --hops 2, --workers 0 or more")

    @property
    def training(self) -> PriorConfig:
        """The same as a run has it."""
        data = DataConfig(
            root="/",
            train=[GroupConfig(str(path.resolve())) for path in self.data],
            hops=self.hops,
            batch=self.batch,
            workers=self.workers,
        )
        return PriorConfig(steps=self.steps, seed=self.seed, device=self.device, data=data)


EXAMPLES = """
  python -m training.prior predictive2d-f8 --data data/cmu_mocap/train data/bandai_namco/dataset2 --out prior
"""


def main(config: Config, stop: threading.Event) -> None:
    """Train and write."""
    assert config.out is not None  # checked above
    tokenizer = load_tokenizer(config.tokenizer)
    console = Console(stderr=True)
    with refusing():
        training = PriorRun(restored(tokenizer), config.training)
    watched = sys.stderr.isatty()
    with Progress(console=console, disable=not watched) as progress:
        task = progress.add_task("prior", total=config.steps)
        for step, bits in training.run():
            progress.update(task, completed=step)
            if stop.is_set():
                raise StoppedError("stopped: nothing is written")
            if not watched and (step % max(1, config.steps // LINES) == 0 or step == config.steps):
                rate = float(bits.sum()) * tokenizer.spec.fps / tokenizer.spec.hop
                console.print(f"step {step} of {config.steps}: {rate:.0f} bit/s on windows of the training")
    export_prior(training.kept.cpu(), tokenizer.spec, config.out)
    print(config.out)


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m training.prior", examples=EXAMPLES, batch=True))
