"""Tokenizers and runs side by side: python -m training.compare A B ... --data PATH [PATH ...] [--figures DIR].

All see the same frames of the same recordings, turned the same way. Ratios are to the first.
"""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once(130)

import json
import math
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import cv2
import numpy as np

from engine.command.cli import need_writable, run
from engine.session import Backend
from training import markdown
from training.config import refusing
from training.evaluation.codecs import open_codec
from training.evaluation.roundtrip import Codec, CodecInfo, DrawingCodec, redrawn
from training.evaluation.sets import Evaluation, figures, run_sets, together

Compared = tuple[Codec | DrawingCodec, CodecInfo, dict[str, Evaluation]]

LOWER_IS_BETTER = ("_error", "l1", "t_std", "bits_per_second", "tokens_per_second")
HIGHER_IS_BETTER = ("ssim", "psnr", "pck")

OF_PICTURES = frozenset({"ssim", "psnr", "l1", "t_std", "t_std_published"})
"""Figures that two only share where both were judged on the same kind of heatmaps."""


def compare(names: Sequence[str], data: Sequence[Path], every: int = 1, backend: Backend = "auto") -> list[Compared]:
    """Send the same recordings through several tokenizers or runs; return each with its sizes and its sets.

    Of several sets the last, `total`, is all of them. Raises ValueError where they are not all 2D or all 3D.
    """
    opened = [open_codec(name, backend) for name in names]
    if len({(sizes.dims, sizes.views) for _, sizes in opened}) > 1:
        raise ValueError("2D and 3D tokenizers, or different numbers of cameras, cannot be compared on the same input")
    whole = math.lcm(*(sizes.hop for _, sizes in opened))
    found = []
    for codec, sizes in opened:
        sets = run_sets(codec, sizes, data, every, whole=whole)
        found.append((codec, sizes, sets | {"total": together(sets)} if len(sets) > 1 else sets))
    return found


def rows(found: Sequence[Compared]) -> dict[str, dict[str, list[float | None]]]:
    """Return each set's figures by name, one value for each tokenizer, None where it has none.

    Figures of pictures are left out for those whose heatmaps are of another size or kind than the first's: of an
    exported tokenizer they are Gaussians at the decoded joints, of a run what its network draws.
    """
    kinds = [
        (sizes.grid, sizes.sigma, isinstance(codec, DrawingCodec), _shows_joints(sets)) for codec, sizes, sets in found
    ]
    alike = [kind == kinds[0] for kind in kinds]
    table: dict[str, dict[str, list[float | None]]] = {}
    for name in found[0][2]:
        columns = [figures(sets[name], sizes) for _, sizes, sets in found]
        keys = [key for column in columns for key in column]
        table[name] = {
            key: [
                column.get(key) if same or key not in OF_PICTURES else None
                for column, same in zip(columns, alike, strict=True)
            ]
            for key in dict.fromkeys(keys)
        }
    return table


def _shows_joints(sets: dict[str, Evaluation]) -> bool:
    return not any(np.isnan(part.result.tracks[0].placed).any() for part in sets.values())


def text(names: Sequence[str], table: dict[str, dict[str, list[float | None]]]) -> str:
    """Return the table in Markdown; after each value but the first its ratio to the first, the better one marked."""
    lines = []
    for title, figures_of in table.items():
        rows = [[key, *(_cell(key, value, values[0]) for value in values)] for key, values in figures_of.items()]
        lines += [title, "", *markdown.table(["", *names], rows), ""]
    return "\n".join(lines)


def _cell(key: str, value: float | None, first: float | None) -> str:
    if value is None:
        return "-"
    shown = f"{value:.4g}"
    if not first or value is first:
        return shown
    lower = value < first and any(part in key for part in LOWER_IS_BETTER)
    higher = value > first and any(part in key for part in HIGHER_IS_BETTER)
    better = shown != f"{first:.4g}" and (lower or higher)
    return f"{shown} (x {value / first:.3f}{', better' if better else ''})"


@dataclass(frozen=True)
class Config:
    """Tokenizers and runs side by side, on the same recordings. Ratios are to the first."""

    EXITS: ClassVar = (5, 10, 13, 14, 130)

    tokenizers: list[str]
    """Names of tokenizers, tokenizer directories, or runs' folders; two or more."""
    data: list[Path] = field(default_factory=list)
    """Recordings, as in training.evaluate."""
    backend: Literal["auto", "openvino", "onnxruntime"] = "auto"
    """Backend for exported tokenizers."""
    every: int = 1
    """Use only every N-th recording, for a quick look."""
    json: Path | None = None
    """File to write the figures to."""
    figures: Path | None = None
    """Folder to draw a strip of each set into."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if len(self.tokenizers) < 2:
            raise ValueError("name two tokenizers or more")
        if not self.data:
            raise ValueError("--data: name recordings")
        if self.every < 1:
            raise ValueError(f"--every {self.every}: at least 1")


EXAMPLES = """
  python -m training.compare heatmap2d-f8 runs/mine --data data/cmu_mocap/val --figures figures
"""


def main(config: Config, stop: threading.Event) -> None:
    """Compare and print."""
    need_writable(config.json)
    with refusing():
        found = compare(config.tokenizers, config.data, config.every, config.backend)
    table = rows(found)
    names = [sizes.name for _, sizes, _ in found]
    names = names if len(set(names)) == len(names) else config.tokenizers
    print(text(names, table))
    if config.json:
        config.json.write_text(json.dumps({"tokenizers": names, "sets": table}, indent=2) + "\n", encoding="utf-8")
    if config.figures:
        _draw(found, config.figures)


def _draw(found: Sequence[Compared], folder: Path) -> None:
    from training.report.pictures import comparison, median_track

    folder.mkdir(parents=True, exist_ok=True)
    for name, part in found[0][2].items():
        if name == "total":
            continue
        chosen = median_track(part.result.tracks)
        tracks = [(redrawn(codec, sets[name].result.tracks[chosen]), sizes) for codec, sizes, sets in found]
        file = folder / f"{name.replace('/', '-')}-comparison.png"
        cv2.imwrite(str(file), comparison(tracks, name))
        print(file)


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m training.compare", examples=EXAMPLES, batch=True))
