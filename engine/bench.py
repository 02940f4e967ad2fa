"""Time a tokenizer: python -m engine.bench --tokenizer NAME_OR_DIR [--backends all] [--batch 1 4 16 64].

Every backend and precision takes turns in one process, so ratios between them hold on a busy machine too.
"""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once(130)

import json
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from engine.backends.base import Precision
from engine.command.cli import need_writable, run
from engine.command.extras import need_package
from engine.command.messages import say
from engine.errors import KinetokenError
from engine.measure.machine import machine
from engine.measure.startup import Start, cold_and_warm
from engine.measure.timing import PRODUCT_GFLOP, Timing, products, ratio, summary, time_interleaved
from engine.measure.work import count_flop
from engine.sample_windows import usual_added
from engine.session import BACKENDS, Backend, Decoder, Encoder, open_decoder, open_encoder
from engine.spec import Part, TokenizerFiles, load_tokenizer

PRECISIONS: dict[str, tuple[Precision, ...]] = {
    "openvino": ("fp32", "bf16"),
    "onnxruntime": ("fp32",),
    "tensorrt": ("fp32", "fp16", "bf16", "int8"),
}
"""What each backend is timed in; the first that runs is what the others are compared to."""

SECONDS = 8.0
"""For each graph and batch, all backends together."""

CROWD = 64
"""People in one step for the peak of memory."""

WIDTH = 120

COUNTED = ("GFLOP", "GFLOP/s", "of peak")

PARTS: tuple[Part, Part] = ("encoder", "decoder")


@dataclass(frozen=True)
class Row:
    """One graph on one backend at one batch size. ms: of a whole step; frame_ms: of one new frame of one person;
    gflop: of the step; gflops: per second; share: of what a large matrix product reaches in the same precision and
    turns, None where there is none; ratio: of the step's time to that of the first backend."""

    tokenizer: str
    part: Part
    backend: str
    precision: str
    batch: int
    ms: Timing
    frame_ms: float
    gflop: float
    gflops: float
    share: float | None
    ratio: float


@dataclass(frozen=True)
class StartRow:
    """Start-up of an encoder in a fresh process, with no compiled graph kept and with one."""

    tokenizer: str
    backend: str
    precision: str
    cold: Start
    warm: Start


@dataclass
class Figures:
    """All that one run measures. peaks: highest GFLOP/s of a large matrix product by precision; absent: why something
    was not measured, by backend and precision; input_bytes: of one person's hop of `x`, by tokenizer."""

    machine: dict[str, Any]
    peaks: dict[str, float] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    starts: list[StartRow] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    input_bytes: dict[str, int] = field(default_factory=dict)


def open_sessions(
    tokenizer: TokenizerFiles, backends: Sequence[str], precisions: Sequence[Precision] | None, absent: dict[str, str]
) -> dict[tuple[str, Precision], tuple[Encoder, Decoder]]:
    """Open the tokenizer in every backend and precision; note in `absent` what cannot be opened, and why."""
    opened: dict[tuple[str, Precision], tuple[Encoder, Decoder]] = {}
    for backend in backends:
        for precision in PRECISIONS[backend] if precisions is None else precisions:
            name: Backend = backend  # type: ignore[assignment]  # a key of BACKENDS
            try:
                pair = open_encoder(tokenizer, name, precision), open_decoder(tokenizer, name, precision)
            except KinetokenError as error:
                absent[f"{backend} {precision}"] = str(error)
                continue
            opened[backend, precision] = pair
    return opened


def bench(
    tokenizer: TokenizerFiles,
    part: Part,
    batch: int,
    sessions: dict[tuple[str, Precision], Encoder | Decoder],
    seconds: float,
) -> tuple[list[Row], dict[str, float]]:
    """Time one graph at one batch size on every backend; return the rows and the peak by precision, GFLOP/s."""
    gflop = count_flop(tokenizer.graph(part), batch) / 1e9
    calls = {f"{backend} {precision}": _stepping(each, batch) for (backend, precision), each in sessions.items()}
    large = products()
    times = time_interleaved({**large, **calls}, seconds)
    first = times[next(iter(calls))]
    rows = []
    for backend, precision in sessions:
        mine = times[f"{backend} {precision}"]
        timing = summary(mine)
        beside = times[precision] if precision in large and backend != "tensorrt" else None
        rows.append(
            Row(
                tokenizer=tokenizer.spec.name,
                part=part,
                backend=backend,
                precision=precision,
                batch=batch,
                ms=timing,
                frame_ms=timing.median / batch / tokenizer.spec.hop,
                gflop=gflop,
                gflops=gflop / timing.median * 1000,
                share=gflop / PRODUCT_GFLOP / ratio(mine, beside) if beside else None,
                ratio=ratio(mine, first),
            )
        )
    return rows, {precision: PRODUCT_GFLOP / min(times[precision]) * 1000 for precision in large}


def _stepping(session: Encoder | Decoder, batch: int) -> Callable[[], None]:
    """Return a call that takes one step of a stream that has no end, its state handed on."""
    rng = np.random.default_rng(0)
    go_on, spec = np.zeros(batch, bool), session.spec
    state, added = session.init_state(batch), usual_added(spec, session.part, batch)
    if isinstance(session, Encoder):
        x = rng.uniform(0.2, 0.8, (batch, *spec.input_shape)).astype(np.float32)
        if spec.input == "keypoints":
            x[..., -1] = 1  # every joint is there

        def encode() -> None:
            nonlocal state
            _, state = session.step(x, go_on, state, **added)

        return encode
    tokens = rng.integers(0, spec.vocabulary, (batch, *spec.token_grid)).astype(np.int32)

    def decode() -> None:
        nonlocal state
        _, state = session.step(tokens, go_on, state, **added)

    return decode


def tables(figures: Figures) -> dict[str, Table]:
    """Return the figures as tables in Markdown, by heading."""
    found: dict[str, Table] = {}
    for row in figures.rows:
        name = f"{row.tokenizer} {row.part}"
        if name not in found:
            found[name] = _table(("backend", "people", "ms", "80 % within", "ms a frame", *COUNTED, "ratio"))
        found[name].add_row(
            f"{row.backend} {row.precision}",
            str(row.batch),
            f"{row.ms.median:.2f}",
            f"{row.ms.low:.2f} to {row.ms.high:.2f}",
            f"{row.frame_ms:.3f}",
            f"{row.gflop:.2f}",
            f"{row.gflops:.0f}",
            "-" if row.share is None else f"{row.share:.0%}",
            f"{row.ratio:.2f}",
        )
    for each in figures.starts:
        name = f"{each.tokenizer}: start-up and memory"
        if name not in found:
            found[name] = _table(("backend", "cold s", "warm s", "MiB, 1 person", f"MiB, {CROWD} people"))
        found[name].add_row(
            f"{each.backend} {each.precision}",
            f"{each.cold.first:.2f}",
            f"{each.warm.first:.2f}",
            f"{each.warm.memory:.0f}",
            f"{each.warm.memory_people:.0f}",
        )
    return found


def _table(columns: Sequence[str]) -> Table:
    table = Table(box=box.MARKDOWN)
    for n, heading in enumerate(columns):
        table.add_column(heading, justify="right" if n else "left", no_wrap=True)
    return table


def plot_cost(rows: Sequence[Row], file: Path) -> None:
    """Draw milliseconds a frame of one person against people in a step: a panel per graph, a line per backend."""
    graphs = list(dict.fromkeys((row.tokenizer, row.part) for row in rows))
    series = [
        (
            f"{tokenizer} {part}",
            {
                name: [
                    (r.batch, r.frame_ms) for r in rows if (r.tokenizer, r.part) == (tokenizer, part) and _of(r) == name
                ]
                for name in dict.fromkeys(_of(r) for r in rows if (r.tokenizer, r.part) == (tokenizer, part))
            },
        )
        for tokenizer, part in graphs
    ]
    from engine.measure.plot import draw_lines  # matplotlib is an extra

    draw_lines(series, "people in one step", "ms a frame of one person", file)


def _of(row: Row) -> str:
    return f"{row.backend} {row.precision}"


@dataclass(frozen=True)
class Config:
    """Time a tokenizer on this machine."""

    EXITS: ClassVar = (5, 10, 13, 14, 130)

    tokenizer: list[str] = field(default_factory=lambda: ["heatmap2d-f8"])
    """Names of shipped tokenizers, or tokenizer directories."""
    backend: list[Literal["all", "openvino", "onnxruntime", "tensorrt"]] = field(default_factory=lambda: ["all"])
    """What is to run them."""
    precision: list[Precision] = field(default_factory=list)
    """Only these precisions; by default all that a backend has."""
    batch: list[int] = field(default_factory=lambda: [1, 4, 16, 64])
    """People in one step, each in turn."""
    seconds: float = SECONDS
    """For each graph and batch size, all backends together."""
    start: bool = True
    """Measure start-up and memory too."""
    json: Path | None = None
    """File to write the figures to."""
    plot: Path | None = None
    """PNG file to draw cost against people into."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if min(self.batch) < 1:
            raise ValueError(f"--batch {min(self.batch)}: at least 1")


EXAMPLES = """
  python -m engine.bench --tokenizer heatmap2d-f8 heatmap3d-f8 --batch 1 16
  python -m engine.bench --backend openvino --json figures.json --plot figures.png
"""


def measure(config: Config) -> Figures:
    """Measure what the command line asks for."""
    backends = list(BACKENDS) if "all" in config.backend else list(dict.fromkeys(config.backend))
    tokenizers = [load_tokenizer(name) for name in config.tokenizer]
    figures = Figures(machine())
    for tokenizer in tokenizers:
        name = tokenizer.spec.name
        figures.input_bytes[name] = 4 * int(np.prod(tokenizer.spec.input_shape))
        opened = open_sessions(tokenizer, backends, config.precision or None, figures.absent)
        if not opened:
            raise KinetokenError(f"nothing to time: {'; '.join(figures.absent.values())}")
        for n, part in enumerate(PARTS):
            # OpenVINO's decoder stays in float32 whatever the precision: no need to time it twice.
            alike = {("openvino", "bf16")} if part == "decoder" and len(opened) > 1 else set()
            sessions = {key: pair[n] for key, pair in opened.items() if key not in alike}
            for batch in config.batch:
                say(f"{name} {part}, {batch} people", "timing")
                rows, peaks = bench(tokenizer, part, batch, sessions, config.seconds)
                figures.rows += rows
                figures.peaks = {key: max(peak, figures.peaks.get(key, 0.0)) for key, peak in peaks.items()}
        # What a user gets who names no backend is started too: it opens all of them to take the fastest.
        for backend, precision in [("auto", "fp32"), *opened] if config.start else []:
            say(f"{name}: start of {backend} {precision}", "timing")
            try:
                cold, warm = cold_and_warm(str(tokenizer.folder), backend, precision, CROWD)
            except KinetokenError as error:
                figures.absent[f"{name}: start of {backend} {precision}"] = str(error)
            else:
                figures.starts.append(StartRow(name, backend, precision, cold, warm))
    return figures


def main(config: Config, stop: threading.Event) -> None:
    """Measure, print, write."""
    if config.plot:
        need_package("matplotlib")
    for file in (config.json, config.plot):
        need_writable(file)
    _show(measure(config), config.json, config.plot)


def _show(figures: Figures, file: Path | None, picture: Path | None) -> None:
    for key, value in figures.machine.items():
        print(f"{key}: {value}")
    for precision, gflops in figures.peaks.items():
        print(f"large matrix product, {precision}: up to {gflops:.0f} GFLOP/s")
    for name, size in figures.input_bytes.items():
        print(f"{name}: a hop of one person brings {size / 1000:.1f} kB to the encoder")
    for heading, table in tables(figures).items():
        print(f"\n{heading}\n")
        Console(width=WIDTH).print(table)
    for what, why in figures.absent.items():
        print(f"not measured: {what}: {why}")
    if file is not None:
        file.write_text(json.dumps(asdict(figures), indent=2) + "\n", encoding="utf-8")
    if picture is not None:
        plot_cost(figures.rows, picture)


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m engine.bench", examples=EXAMPLES, batch=True))
