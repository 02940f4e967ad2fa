"""Bits against error, beside what one would do without a tokenizer.

    python -m training.ratedistortion TOKENIZER_OR_RUN ... --data PATH [PATH ...] [--json FILE] [--figure PNG]

Without a tokenizer, one rounds the joints, keeps the differences from frame to frame and compresses those. Either the
joints around the body's middle, whose own path is not counted, as the boxes of the tokens' packets are not; or their
places in the room, where nothing is left out.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from engine.errors import KinetokenError
from training.evaluation.rate_distortion import curves, table


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.ratedistortion",
        description="Bits against error, beside rounded joints.",
        allow_abbrev=False,
    )
    parser.add_argument("tokenizers", nargs="+", help="names of tokenizers, tokenizer directories, or runs' folders")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="recordings, as in training.evaluate")
    parser.add_argument("--every", type=int, default=1, help="take only each so manieth recording, for a quick look")
    parser.add_argument("--json", type=Path, help="write the points here too")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="draw the curves into this file")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, measure and print."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.every < 1:
        parser.error("--every must be 1 or more")
    try:
        found = curves(args.tokenizers, args.data, args.every)
        print(table(found))
        if args.json:
            args.json.write_text(json.dumps({n: [asdict(p) for p in c] for n, c in found.items()}, indent=2) + "\n")
        if args.figure:
            from training.report.plots import rate_distortion

            rate_distortion(found, args.figure)
    except (OSError, ValueError, KinetokenError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
