"""Where the time of a step goes: python -m engine.layers --tokenizer NAME_OR_DIR [--precision bf16] [--batch 16].

OpenVINO's own counters, layer by layer, summed by kind of layer and by what carries it out.
"""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once(130)

import sys
import threading
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from engine.backends.base import zeros
from engine.backends.openvino import core, has_bfloat16, hints, read
from engine.backends.openvino_split import cut
from engine.command.cli import run
from engine.spec import Part, load_tokenizer

RUNS = 30
"""Runs of each graph; each layer counts with its fastest."""


def by_kind(file: Path, batch: int, precision: str) -> dict[str, float]:
    """Return the milliseconds of one step by kind of layer, slowest first. precision: fp32 or bf16."""
    model = read(file, batch)
    parts = [(model, "f32")] if precision == "fp32" else cut(model)
    spent: dict[str, float] = defaultdict(float)
    for part, hint in parts:
        compiled = core().compile_model(part, "CPU", hints(hint) | {"PERF_COUNT": "YES"})
        request = compiled.create_infer_request()
        feeds = zeros({port.any_name: tuple(port.shape) for port in compiled.inputs}, batch)
        layers: dict[str, list[float]] = defaultdict(list)
        kinds: dict[str, str] = {}
        for _ in range(RUNS):
            request.infer(feeds)
            for layer in request.profiling_info:
                layers[layer.node_name].append(1000 * layer.real_time.total_seconds())
                kinds[layer.node_name] = f"{layer.node_type} {layer.exec_type}"
        for name, times in layers.items():
            spent[kinds[name]] += float(np.min(times))
    return dict(sorted(spent.items(), key=lambda entry: -entry[1]))


@dataclass(frozen=True)
class Config:
    """Where the time of a step goes, by kind of layer."""

    EXITS: ClassVar = (5, 130)

    tokenizer: str = "heatmap2d-f8"
    """Name of a shipped tokenizer, or a tokenizer directory."""
    part: Part = "encoder"
    """Which of its two graphs."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the matrix products."""
    batch: int = 16
    """People in one step."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if self.batch < 1:
            raise ValueError(f"--batch {self.batch}: at least 1")
        if self.precision == "bf16" and not has_bfloat16():
            raise ValueError("this processor does not support bfloat16: use --precision fp32")


EXAMPLES = """
  python -m engine.layers --tokenizer heatmap3d-f8 --part decoder
  python -m engine.layers --precision bf16 --batch 1
"""


def main(config: Config, stop: threading.Event) -> None:
    """Measure and print."""
    spent = by_kind(load_tokenizer(config.tokenizer).graph(config.part), config.batch, config.precision)
    table = Table(box=box.MARKDOWN)
    for heading in ("layers", "ms", "share"):
        table.add_column(heading, justify="left" if heading == "layers" else "right")
    whole = sum(spent.values())
    for kind, ms in spent.items():
        if ms > 0.005 * whole:
            table.add_row(kind, f"{ms:.2f}", f"{ms / whole:.0%}")
    table.add_row("all", f"{whole:.2f}", "100%")
    Console(width=100).print(table)


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m engine.layers", examples=EXAMPLES, batch=True))
