"""What a run's folder holds: whether it is one, and its log.jsonl (see `training.run.journal`), read again."""

import json
from pathlib import Path
from typing import Any


def read_log(run: Path) -> list[dict[str, Any]]:
    """Return the entries of a run's log."""
    return read_lines(run / "log.jsonl")


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Return the objects of a file that has one a line, none where there is no file.

    A last line that was cut off, as by a loss of power, is left out.
    """
    entries = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries


def training_seconds(run: Path, samples_per_step: int) -> float:
    """Return how long the steps of a run took, looks at unseen recordings left out.

    Steps that were done twice, because the run was stopped after its last checkpoint, count once.
    """
    pace = {entry["step"]: entry["samples_per_second"] for entry in read_log(run) if "samples_per_second" in entry}
    steps = sorted(pace)
    return sum((step - last) * samples_per_step / pace[step] for last, step in zip([0, *steps], steps, strict=False))


def is_run(path: str | Path) -> bool:
    """Whether this is the folder of a training run."""
    return (Path(path) / "checkpoint.pt").is_file() and (Path(path) / "config.yaml").is_file()
