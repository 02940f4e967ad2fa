"""Where the time of a step goes: python -m engine.layers --tokenizer NAME_OR_DIR [--precision bf16] [--batch 16].

OpenVINO's own counters, layer by layer, summed by kind of layer and by what carries it out.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from engine.backends.base import zeros
from engine.backends.openvino import core, has_bfloat16, hints, read
from engine.backends.openvino_split import cut
from engine.cli import add_tokenizer, run
from engine.spec import load_tokenizer

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


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.layers", description="Where the time of a step goes, by kind of layer."
    )
    add_tokenizer(parser)
    parser.add_argument("--part", choices=("encoder", "decoder"), default="encoder")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--batch", type=int, default=16, help="people in one step (default: %(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line, measure, print. Return the exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.batch < 1:
        parser.error(f"--batch {args.batch}: at least 1")
    if args.precision == "bf16" and not has_bfloat16():
        parser.error("this processor has no bfloat16: take --precision fp32")
    return run(
        lambda: _show(by_kind(load_tokenizer(args.tokenizer).graph(args.part), args.batch, args.precision)), parser.prog
    )


def _show(spent: dict[str, float]) -> int:
    table = Table(box=box.MARKDOWN)
    for heading in ("layers", "ms", "share"):
        table.add_column(heading, justify="left" if heading == "layers" else "right")
    whole = sum(spent.values())
    for kind, ms in spent.items():
        if ms > 0.005 * whole:
            table.add_row(kind, f"{ms:.2f}", f"{ms / whole:.0%}")
    table.add_row("all", f"{whole:.2f}", "100%")
    Console(width=100).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
