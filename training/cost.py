"""What a network costs live: python -m training.cost CONFIG [CONFIG ...] [--json FILE] [--plot FILE.png].

Every configuration is built with random weights, which cost as much as trained ones. A network that looks both ways
sees its whole window again for every hop of new frames, in PyTorch, as those who publish such networks run them. A
causal one sees the hop alone: in PyTorch, and exported, on the engines of the live system, in both forms of input:
joints, drawn inside the graph, and heatmaps, drawn outside, which counts as part of the cost.
"""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once(130)

import dataclasses
import json
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from engine.backends.base import Precision
from engine.backends.openvino import has_bfloat16
from engine.command.cli import need_writable, run
from engine.measure.machine import machine
from engine.measure.plot import draw_lines
from engine.measure.timing import Timing, ratio, summary, time_interleaved
from engine.measure.work import count_flop
from engine.session import Backend, Encoder, open_encoder
from stream.codec.inputs import encoder_inputs
from stream.codec.rate import FULL
from stream.motion.heatmap import draw
from stream.motion.skeleton import Array
from training.config import find_config, load_config, refusing
from training.export import Input, export_network
from training.model.config import ModelConfig
from training.model.heatmaps import draw_maps
from training.model.tokenizer import TokenizerNetwork

GRIDS = (64, 128)
WINDOWS = (8, 16, 32, 48)
"""Sides of heatmaps and lengths of windows that the plot compares."""

WIDTH = 150

SECONDS = 60.0
"""For all networks together, beyond the few turns that each gets in any case."""


Named = tuple[str, ModelConfig]

HEATMAPS_IN = ", heatmaps in"
"""Marks the form of a tokenizer that takes heatmaps, drawn outside."""


@dataclass(frozen=True)
class Row:
    """The encoder's cost per hop. runs: on what; window: frames that each call sees; kilobytes: of one call's input;
    parameters: millions, with the decoder; gflop, ms: of a hop; frame_ms: of a new frame; less: how many times less
    than the first row."""

    name: str
    runs: str
    causal: bool
    grid: int
    window: int
    kilobytes: float
    parameters: float
    gflop: float
    ms: Timing
    frame_ms: float
    less: float


@dataclass(frozen=True)
class _Plan:
    """Something to time: what it is, its input and arithmetic, and the call."""

    name: str
    runs: str
    config: ModelConfig
    size: int  # of the input, bytes
    parameters: float
    gflop: float
    call: Callable[[], object]


def plans(name: str, config: ModelConfig, scratch: Path, forms: Sequence[Input]) -> Iterator[_Plan]:
    """Build one network and give the ways of running its encoder, one hop a call.

    forms: of input, in which a causal network is exported. Raises ValueError for sizes that do not go together.
    """
    torch.manual_seed(0)
    network = TokenizerNetwork(config).eval()
    parameters = sum(each.numel() for each in network.parameters()) / 1e6
    rng = np.random.default_rng(0)
    x = rng.uniform(0.2, 0.8, (1, config.packet, config.views * config.joints, config.dims + 1)).astype(np.float32)
    x[..., -1] = 1
    points = torch.from_numpy(x)
    seen = points if config.causal else draw_maps(points, config.inputs, config)
    reset = torch.zeros(1)
    state = {path: torch.zeros(1, *shape) for path, shape in network.encoder.states.items()}

    def in_torch() -> None:
        nonlocal state
        with torch.inference_mode():
            _, _, state = network.encode_step(seen, reset, state)

    with FlopCounterMode(display=False) as counter:
        in_torch()
    gflop = counter.get_total_flops() / 1e9
    yield _Plan(name, "torch fp32", config, seen.nbytes, parameters, gflop, in_torch)
    if not config.causal or not config.has_joints or config.views > 1:
        return  # no network of the live system
    ways: list[tuple[Backend, Precision]] = [("onnxruntime", "fp32"), ("openvino", "fp32")]
    if has_bfloat16():
        ways.append(("openvino", "bf16"))
    for form in forms:
        tokenizer = export_network(network, name, scratch / f"{name}-{config.grid}-{form}", form)
        gflop = count_flop(tokenizer.graph("encoder")) / 1e9
        told, size = ("", x.nbytes) if form == "keypoints" else (HEATMAPS_IN, draw(x, config.grid, config.sigma).nbytes)
        for backend, precision in ways:
            call = _live(open_encoder(tokenizer, backend, precision), x)
            yield _Plan(name, f"{backend} {precision}{told}", config, size, parameters, gflop, call)


def _live(encoder: Encoder, keypoints: Array) -> Callable[[], object]:
    """Return a call that takes one step of a stream that has no end."""
    spec, state, go_on = encoder.spec, encoder.init_state(len(keypoints)), np.zeros(len(keypoints), bool)
    boxes = np.full((len(keypoints), spec.dims + 1), 200.0, np.float32)

    def step() -> None:
        nonlocal state
        x, added = encoder_inputs(spec, keypoints, boxes, FULL)
        _, state = encoder.step(x, go_on, state, **added)

    return step


def measure(configs: Sequence[Named], others: Sequence[Named], seconds: float) -> list[Row]:
    """Time all networks in turn, `others` with joints as input alone; the first is what the rest is compared to."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        found = [plan for each in configs for plan in plans(*each, scratch, ("keypoints", "heatmaps"))]
        found += [plan for each in others for plan in plans(*each, scratch, ("keypoints",))]
        times = time_interleaved({str(n): plan.call for n, plan in enumerate(found)}, seconds)
    rows = []
    for plan, mine in zip(found, times.values(), strict=True):
        timing, c = summary(mine), plan.config
        less = 1 / ratio(mine, times["0"])
        row = Row(
            name=plan.name,
            runs=plan.runs,
            causal=c.causal,
            grid=c.grid,
            window=c.packet,
            kilobytes=plan.size / 1000,
            parameters=plan.parameters,
            gflop=plan.gflop,
            ms=timing,
            frame_ms=timing.median / c.hop,
            less=less,
        )
        rows.append(row)
    return rows


def variants(name: str, config: ModelConfig) -> Iterator[Named]:
    """The same network at other sizes of heatmaps, with patches of the same size, and of windows where it has any."""
    patch = config.grid // config.cells
    for grid in GRIDS:
        other = dataclasses.replace(config, grid=grid, cells=grid // patch)
        if config.causal:
            yield name, other
        else:
            fitting = (window for window in WINDOWS if window % config.hop == 0)
            yield from ((name, dataclasses.replace(other, window=window)) for window in fitting)


def plot(rows: Sequence[Row], file: Path) -> None:
    """Draw the cost of a hop against the window, a panel per size of heatmaps; what is causal pays for no window."""
    panels = []
    for grid in GRIDS:
        lines: dict[str, list[tuple[float, float]]] = {}
        for row in (each for each in rows if each.grid == grid and HEATMAPS_IN not in each.runs):
            windows = WINDOWS if row.causal else (row.window,)
            lines.setdefault(f"{row.name} {row.runs}", []).extend((window, row.ms.median) for window in windows)
        panels.append((f"heatmaps of {grid} x {grid}", lines))
    draw_lines(panels, "frames looked at", "ms a hop", file)


def show(rows: Sequence[Row]) -> None:
    """Print the rows as a table in Markdown."""
    table = Table(box=box.MARKDOWN)
    for n, heading in enumerate(
        (
            "network",
            "runs on",
            "grid",
            "frames",
            "kB in",
            "M parameters",
            "GFLOP",
            "ms a hop",
            "80 % within",
            "times less",
        )
    ):
        table.add_column(heading, justify="right" if n > 1 else "left", no_wrap=True)
    for row in rows:
        table.add_row(
            row.name,
            row.runs,
            str(row.grid),
            str(row.window),
            f"{row.kilobytes:.1f}",
            f"{row.parameters:.1f}",
            f"{row.gflop:.1f}",
            f"{row.ms.median:.1f}",
            f"{row.ms.low:.1f} to {row.ms.high:.1f}",
            f"{row.less:.1f}",
        )
    Console(width=WIDTH).print(table)


@dataclass(frozen=True)
class Config:
    """What networks cost per hop of new frames, side by side."""

    EXITS: ClassVar = (5, 10, 13, 14, 130)

    configs: list[str]
    """YAML files, or names of those that ship; the others are compared to the first."""
    seconds: float = SECONDS
    """For all together."""
    json: Path | None = None
    """File to write the figures to."""
    plot: Path | None = None
    """PNG file: time them at several grids and windows too, and draw that."""


EXAMPLES = """
  python -m training.cost paper/windowed paper/causal --json cost.json --plot cost.png
"""


def main(config: Config, stop: threading.Event) -> None:
    """Measure, print, write."""
    for file in (config.json, config.plot):
        need_writable(file)
    with refusing():
        loaded = [load_config(find_config(file), []) for file in config.configs]
        configs = [(each.name, each.model) for each in loaded]
        more = [each for named in configs for each in variants(*named)] if config.plot else []
        rows = measure(configs, [each for each in more if each not in configs], config.seconds)
    if config.plot:
        plot(rows, config.plot)
    about = machine()
    for key, value in about.items():
        print(f"{key}: {value}")
    print()
    show(rows)
    if config.json:
        figures = {"machine": about, "rows": [asdict(row) for row in rows]}
        config.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m training.cost", examples=EXAMPLES, batch=True))
