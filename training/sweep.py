"""Fill the tables of a sweep: python -m training.sweep sweeps/paper [key=value ...] [--dry-run].

One row at a time: train, evaluate, append to runs/SWEEP/results.jsonl, write the page. Started again, it goes on where
it stopped; a row whose configuration changed is trained again.
"""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once(130)

import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from omegaconf import OmegaConf
from torch import Tensor

from engine.command.cli import POSITIONAL, run
from engine.errors import StoppedError
from training.config import TrainConfig, different, find_config, load_config, refusing
from training.evaluation.codecs import open_codec
from training.evaluation.sets import figures, run_sets
from training.probe import probe
from training.report.pictures import draw_evaluation
from training.report.sweep_page import write_page
from training.report.tables import Row, SweepConfig, load_sweep, rows_of, slug
from training.run import provenance
from training.run.checkpoint import build
from training.run.folder import read_lines, training_seconds
from training.run.trainer import Run
from training.train import train

TIMED = 3
"""Steps that a dry run times, after one to warm up."""


def read_results(file: Path) -> dict[str, dict[str, Any]]:
    """Return the last result of every row, by name."""
    return {entry["row"]: entry for entry in read_lines(file)}


def fill(row: Row, sweep: SweepConfig, runs: Path, root: Path) -> dict[str, Any] | None:
    """Train a row where it needs to be, and evaluate it; None where it was stopped."""
    entry: dict[str, Any] = {"row": row.name, "digest": row.digest, "code": provenance.code_version()}
    entry["machine"] = provenance.machine()
    if row.config:
        folder = runs / slug(row.name)
        if not _train(row.config, folder):
            return None
        entry["training_seconds"] = round(training_seconds(folder, row.config.data.batch), 1)
        entry |= {"steps": row.config.optim.steps, "seed": row.config.seed, "batch": row.config.data.batch}
        entry["trained_on"] = [group.path for group in row.config.data.train]
        entry["parameters"] = sum(p.numel() for p in build(row.config).parameters())
    entry["where"] = row.where(runs)
    codec, sizes = open_codec(entry["where"])
    entry["dims"] = sizes.dims
    sets = run_sets(codec, sizes, [root / path for path in sweep.evaluate], sweep.every)
    entry["figures"] = {name: figures(part, sizes) for name, part in sets.items()}
    entry["figures"] = dict(zip(sweep.evaluate, entry["figures"].values(), strict=True))
    if row.pictured:
        first = dict(list(sets.items())[:1])
        draw_evaluation(codec, first, sizes, sweep.pictures / slug(row.name), videos=False)
    if row.probed:
        found = probe(entry["where"], [root / path for path in sweep.probe])
        entry["probe"] = dict(zip(sweep.probe, found.values(), strict=True))
    return entry


def _train(config: TrainConfig, folder: Path) -> bool:
    """Train from the start, or go on where an earlier sweep stopped; a run of another configuration makes way."""
    known = folder / "config.yaml"
    resume = (folder / "checkpoint.pt").is_file()
    if resume and different(load_config(known, []), config):
        aside = folder.with_name(f"{folder.name}-{int(known.stat().st_mtime)}")
        folder.rename(aside)
        print(f"{folder.name}: the configuration changed; the previous run is kept in {aside}")
        resume = False
    return train(config, folder, resume)


class _Anything:
    """Windows of nothing in particular, to time a step with."""

    def __init__(self, config: TrainConfig) -> None:
        model, data = config.model, config.data
        frames, joints = config.packets * model.packet, model.views * model.joints
        self.keypoints = torch.rand(data.batch, frames, joints, model.dims + 1)
        self.keypoints[..., -1] = 1

    def take(self, step: int) -> tuple[Tensor, Tensor]:
        """See `training.run.trainer.Batches`."""
        return self.keypoints, self.keypoints[..., :-1]


def seconds_per_step(config: TrainConfig) -> float:
    """Time a few steps of a row, adversary and codebook on."""
    if config.optim.threads:
        torch.set_num_threads(config.optim.threads)
    with tempfile.TemporaryDirectory() as scratch:
        run = Run(config, Path(scratch))
        run.step = max(config.optim.plain_steps, config.adversary.start)
        batches = _Anything(config)
        run.advance(batches)
        start = time.monotonic()
        for _ in range(TIMED):
            run.advance(batches)
    return (time.monotonic() - start) / TIMED


def plan(rows: Sequence[Row], results: dict[str, dict[str, Any]]) -> Iterator[tuple[str, float]]:
    """Yield each row's state and the seconds that its training would take here, 0 where it is done."""
    for row in rows:
        if row.name in results:
            yield f"{row.name}: done", 0.0
        elif row.config is None:
            yield f"{row.name}: to evaluate, {row.tokenizer}", 0.0
        else:
            pace = seconds_per_step(row.config)
            seconds = pace * row.config.optim.steps
            yield f"{row.name}: {row.config.optim.steps} steps of {pace:.2f} s, {seconds / 60:.0f} min", seconds


@dataclass(frozen=True)
class Config:
    """Train and evaluate the rows of tables."""

    EXITS: ClassVar = (5, 13, 14, 130)

    sweep: str
    """A YAML file, or the name of one that ships, such as sweeps/paper."""
    changes: list[str] = field(default_factory=list, metadata=POSITIONAL)
    """key=value over every row's configuration, such as data.root=data."""
    only: list[str] = field(default_factory=list)
    """Only these rows."""
    dry_run: bool = False
    """Print the rows and how long each would train here."""


EXAMPLES = """
  python -m training.sweep sweeps/paper data.root=data --dry-run
  python -m training.sweep sweeps/paper data.root=data --only heatmap2d-f8
"""


def main(config: Config, stop: threading.Event) -> None:
    """Fill the tables."""
    with refusing():
        file = find_config(config.sweep)
        sweep = load_sweep(file)
        rows = rows_of(sweep, file.parent, config.changes)
        unknown = sorted(set(config.only) - {row.name for row in rows})
        if unknown:
            raise ValueError(f"--only: no row {unknown[0]!r}; there are {', '.join(repr(row.name) for row in rows)}")
        wanted = [row for row in rows if not config.only or row.name in config.only]
        general = OmegaConf.merge(OmegaConf.structured(TrainConfig), OmegaConf.from_dotlist(config.changes))
        runs, root = Path(general.runs) / sweep.name, Path(general.data.root)
        if config.dry_run:
            _show_plan(wanted, current(wanted, runs / "results.jsonl"))
        else:
            sweep_rows(sweep, rows, wanted, runs, root)


def _show_plan(rows: Sequence[Row], results: dict[str, dict[str, Any]]) -> None:
    total = 0.0
    for line, seconds in plan(rows, results):
        print(line, flush=True)
        total += seconds
    print(f"to train: {total / 60:.0f} min, plus evaluation")


def current(rows: Sequence[Row], file: Path) -> dict[str, dict[str, Any]]:
    """Return the results that belong to the rows as they are now, by name."""
    found = read_results(file)
    return {row.name: found[row.name] for row in rows if found.get(row.name, {}).get("digest") == row.digest}


def sweep_rows(sweep: SweepConfig, every: Sequence[Row], rows: Sequence[Row], runs: Path, root: Path) -> None:
    """Fill those of `rows` that have no result yet, one after the other, and write the page of all after each."""
    file = runs / "results.jsonl"
    runs.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows, 1):
        if current([row], file):
            print(f"{row.name}: already done")
            continue
        print(f"{row.name}: row {number} of {len(rows)}", flush=True)
        entry = fill(row, sweep, runs, root)
        if entry is None:
            raise StoppedError("stopped: the same command continues from here")
        with file.open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")
        if sweep.page:
            write_page(sweep, current(every, file), root, final=False)
    if sweep.page:
        write_page(sweep, current(every, file), root, final=True)
        print(sweep.page)


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m training.sweep", examples=EXAMPLES, batch=True))
