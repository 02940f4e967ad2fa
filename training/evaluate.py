"""What a tokenizer loses: python -m training.evaluate TOKENIZER_OR_RUN --data PATH [PATH ...] [--json FILE].

Runs the exported encoder and decoder, as the live system does, or the network of a training run, over whole
recordings.
"""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once(130)

import json
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from engine.command.cli import need_writable, run
from engine.session import Backend
from training.config import refusing
from training.evaluation.codecs import open_codec
from training.evaluation.sets import figures, run_sets, together
from training.run.folder import is_run


def evaluate(tokenizer: str | Path, data: Sequence[Path], backend: Backend = "auto") -> dict[str, dict[str, float]]:
    """Return the figures of a tokenizer or a run on each set of recordings, by path."""
    codec, sizes = open_codec(tokenizer, backend)
    return {name: figures(part, sizes) for name, part in run_sets(codec, sizes, data).items()}


def validation_sets(run: Path) -> list[Path]:
    """Return the recordings that a run is validated on."""
    from training.config import load_config

    data = load_config(run / "config.yaml", []).data
    return [Path(data.root) / path for path in data.validate]


@dataclass(frozen=True)
class Config:
    """What a tokenizer loses: runs whole recordings through it and judges what comes out."""

    EXITS: ClassVar = (5, 10, 13, 14, 130)

    tokenizer: str
    """Name of a shipped tokenizer, a tokenizer directory, or a run's folder."""
    data: list[Path] = field(default_factory=list)
    """Recordings: npz files or folders of them, Panoptic sequences (folders or tars) or a folder of them, all or, with
    @train or @validation behind its name, those of the paper's lists. By default what a run is validated on."""
    backend: Literal["auto", "openvino", "onnxruntime"] = "auto"
    """Backend for exported tokenizers."""
    every: int = 1
    """Use only every N-th recording, for a quick look."""
    json: Path | None = None
    """File to write the figures to."""
    figures: Path | None = None
    """Folder to draw pictures and videos into."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if not self.data and not is_run(self.tokenizer):
            raise ValueError("--data: name recordings")
        if self.every < 1:
            raise ValueError(f"--every {self.every}: at least 1")


EXAMPLES = """
  python -m training.evaluate heatmap2d-f8 --data data/cmu_mocap/val
  python -m training.evaluate runs/mine --json mine.json --figures mine
"""


def main(config: Config, stop: threading.Event) -> None:
    """Evaluate and print."""
    need_writable(config.json)
    with refusing():
        data = config.data or validation_sets(Path(config.tokenizer))
        codec, sizes = open_codec(config.tokenizer, config.backend)
        sets = run_sets(codec, sizes, data, config.every)
    if len(sets) > 1:
        sets["total"] = together(sets)
    found = {name: figures(part, sizes) for name, part in sets.items()}
    for name, row in found.items():
        print(name)
        for key, value in row.items():
            print(f"  {key:24} {value:10.3f}")
    if config.json:
        config.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if config.figures:
        from training.report.pictures import draw_evaluation

        run_folder = Path(config.tokenizer) if is_run(config.tokenizer) else None
        for file in draw_evaluation(codec, sets, sizes, config.figures, run_folder):
            print(file)
    faults = [fault for name, part in sets.items() if name != "total" for fault in part.faults]
    if faults:
        print(f"left out {len(faults)} files that cannot be read; the first: {faults[0]}")


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m training.evaluate", examples=EXAMPLES, batch=True))
