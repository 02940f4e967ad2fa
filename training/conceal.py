"""What to show while packets are missing: python -m training.conceal TOKENIZER --data PATH [PATH ...].

The decoder of a predictive tokenizer forecasts the hops that it does not get. Beside that: the last pose held, and
constant velocity. The last line is no loss but a look ahead, to hide a latency.
"""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once(130)

import json
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from engine.command.cli import need_writable, run
from stream.tokenizer import Tokenizer
from training import markdown
from training.config import refusing
from training.data.dataset import read_clips
from training.evaluation.conceal import WAYS, concealed


@dataclass(frozen=True)
class Config:
    """The error of joints while packets are missing: as the tokenizer forecasts, held, and with constant velocity."""

    EXITS: ClassVar = (5, 10, 13, 14, 130)

    tokenizer: str
    """Name of a shipped predictive tokenizer, or a tokenizer directory."""
    data: list[Path] = field(default_factory=list)
    """Recordings, as in training.evaluate."""
    every: int = 1
    """Use only every N-th recording, for a quick look."""
    json: Path | None = None
    """File to write the errors to."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if not self.data:
            raise ValueError("--data: name recordings")
        if self.every < 1:
            raise ValueError(f"--every {self.every}: at least 1")


EXAMPLES = """
  python -m training.conceal predictive2d-f8 --data data/cmu_mocap/val
"""


def main(config: Config, stop: threading.Event) -> None:
    """Measure and print."""
    need_writable(config.json)
    with refusing():
        clips = [clip for path in config.data for clip in read_clips(path)[:: config.every]]
        found = concealed(Tokenizer(config.tokenizer, "onnxruntime"), clips)
    rows = [[name, *(f"{errors[way]:.2f}" for way in WAYS)] for name, errors in found.items()]
    print("\n".join(markdown.table(["mean joint error, cm", *WAYS], rows)))
    if config.json:
        config.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m training.conceal", examples=EXAMPLES, batch=True))
