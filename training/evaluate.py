"""What a tokenizer loses: python -m training.evaluate TOKENIZER_OR_RUN --data PATH [PATH ...] [--json FILE].

Runs the exported encoder and decoder, as the live system does, or the network of a training run, over whole
recordings.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from engine.errors import KinetokenError
from engine.session import Backend
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


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description="What a tokenizer loses.", allow_abbrev=False
    )
    parser.add_argument("tokenizer", help="name of a shipped tokenizer, a tokenizer directory, or a run's folder")
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        default=[],
        help="npz files or folders of them, Panoptic sequences (folders or tars) or a folder of them, all or, with "
        "@train or @validation behind its name, those of the paper's lists; for a run, by default, what it is "
        "validated on",
    )
    parser.add_argument("--backend", choices=("auto", "openvino", "onnxruntime"), default="auto")
    parser.add_argument("--every", type=int, default=1, help="take only each so manieth recording, for a quick look")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="draw pictures and videos into this folder")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, evaluate and print."""
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        data = args.data or (validation_sets(Path(args.tokenizer)) if is_run(args.tokenizer) else [])
        if not data:
            parser.error("give recordings with --data")
        if args.every < 1:
            parser.error("--every must be 1 or more")
        codec, sizes = open_codec(args.tokenizer, args.backend)
        sets = run_sets(codec, sizes, data, args.every)
        if len(sets) > 1:
            sets["total"] = together(sets)
        found = {name: figures(part, sizes) for name, part in sets.items()}
        for name, row in found.items():
            print(name)
            for key, value in row.items():
                print(f"  {key:24} {value:10.3f}")
        if args.json:
            args.json.write_text(json.dumps(found, indent=2) + "\n")
        if args.figures:
            from training.report.pictures import draw_evaluation

            for file in draw_evaluation(codec, sets, sizes, args.figures, run=Path(args.tokenizer)):
                print(file)
    except (OSError, ValueError, KinetokenError) as error:
        parser.error(str(error))
    faults = [fault for name, part in sets.items() if name != "total" for fault in part.faults]
    if faults:
        print(f"left out {len(faults)} files that cannot be read; the first: {faults[0]}")


if __name__ == "__main__":
    main()
