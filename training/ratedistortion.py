"""Bits against error, beside what one would do without a tokenizer.

    python -m training.ratedistortion TOKENIZER_OR_RUN ... --data PATH [PATH ...] [--fit PATH [PATH ...]]
        [--json FILE] [--figure PNG]

Without a tokenizer, one rounds the joints, keeps the differences from frame to frame and compresses those. Either the
joints around the body's middle, whose own path is not counted, as the boxes of the tokens' packets are not; or their
places in the room, where nothing is left out. With --fit a transform codec stands beside them: linear prediction from
the hops decoded before, in the tokens' boxes, and rounded coefficients of what it misses.

Of a predictive tokenizer any first levels decode: --levels 4 8 12 judges it with so many. Where a prior ships for it,
the bits under that prior stand beside the others.
"""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once(130)

import json
import sys
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

from engine.command.cli import need_writable, run
from training.config import refusing
from training.evaluation.rate_distortion import curves, table


@dataclass(frozen=True)
class Config:
    """Bits against error, beside what one would do without a tokenizer: round the joints and compress them."""

    EXITS: ClassVar = (5, 10, 13, 14, 130)

    tokenizers: list[str]
    """Names of tokenizers, tokenizer directories, or runs' folders."""
    data: list[Path] = field(default_factory=list)
    """Recordings, as in training.evaluate."""
    fit: list[Path] = field(default_factory=list)
    """Training recordings, to fit a transform codec on that is shown beside the tokens. Not those of --data."""
    levels: list[int] = field(default_factory=list)
    """Numbers of levels at which predictive tokenizers are judged; by default all that they have."""
    every: int = 1
    """Use only every N-th recording, for a quick look."""
    json: Path | None = None
    """File to write the points to."""
    figure: Path | None = None
    """PNG file to draw the curves into."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if not self.data:
            raise ValueError("--data: name recordings")
        both = {path.resolve() for path in self.fit} & {path.resolve() for path in self.data}
        if both:
            raise ValueError(f"--fit {min(both)}: also in --data; fit on recordings that do not judge")
        if self.levels and min(self.levels) < 1:
            raise ValueError(f"--levels {min(self.levels)}: at least 1")
        if self.every < 1:
            raise ValueError(f"--every {self.every}: at least 1")


EXAMPLES = """
  python -m training.ratedistortion heatmap2d-f8 heatmap2d-f16 --data data/cmu_mocap/val --figure curves.png
  python -m training.ratedistortion heatmap2d-f8 --data data/cmu_mocap/val \\
      --fit data/cmu_mocap/train data/bandai_namco/dataset2
  python -m training.ratedistortion predictive2d-f8 --levels 4 6 8 12 --data data/cmu_mocap/val
"""


def main(config: Config, stop: threading.Event) -> None:
    """Measure and print."""
    for file in (config.json, config.figure):
        need_writable(file)
    with refusing():
        found = curves(config.tokenizers, config.data, config.every, config.fit, config.levels)
    print(table(found))
    if config.json:
        points = {name: [asdict(point) for point in curve] for name, curve in found.items()}
        config.json.write_text(json.dumps(points, indent=2) + "\n", encoding="utf-8")
    if config.figure:
        from training.report.plots import rate_distortion

        rate_distortion(found, config.figure)


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m training.ratedistortion", examples=EXAMPLES, batch=True))
