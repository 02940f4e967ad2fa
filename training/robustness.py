"""What hidden joints and wrong ids cost: python -m training.robustness TOKENIZER ... --data PATH [PATH ...]."""

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
from engine.session import open_decoder, open_encoder
from engine.spec import load_tokenizer
from training import markdown
from training.config import refusing
from training.data.dataset import read_clips
from training.evaluation.codecs import EngineCodec
from training.evaluation.robustness import robustness


@dataclass(frozen=True)
class Config:
    """What a tokenizer still decodes where joints were hidden for seconds, or one id in a hundred is another."""

    EXITS: ClassVar = (5, 10, 13, 14, 130)

    tokenizers: list[str]
    """Names of shipped tokenizers, or tokenizer directories."""
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
  python -m training.robustness heatmap2d-f8 predictive2d-f8 --data data/cmu_mocap/val
"""


def main(config: Config, stop: threading.Event) -> None:
    """Measure and print."""
    need_writable(config.json)
    found = {}
    with refusing():
        clips = [clip for path in config.data for clip in read_clips(path)[:: config.every]]
        for name in config.tokenizers:
            tokenizer = load_tokenizer(name)
            codec = EngineCodec(open_encoder(tokenizer), open_decoder(tokenizer))
            found[tokenizer.spec.label] = robustness(codec, clips)
    cases = list(next(iter(found.values())))
    rows = [[name, *(f"{errors[case]:.2f}" for case in cases)] for name, errors in found.items()]
    print("\n".join(markdown.table(["mean joint error, cm", *cases], rows)))
    if config.json:
        config.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m training.robustness", examples=EXAMPLES, batch=True))
