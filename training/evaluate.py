"""What a tokenizer loses: python -m training.evaluate TOKENIZER_OR_RUN --data PATH [PATH ...] [--json FILE].

Runs the exported encoder and decoder, as the live system does, or the network of a training run, over whole
recordings.
"""

import argparse
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.errors import KinetokenError
from engine.session import Backend
from engine.spec import TokenizerSpec
from training.data.dataset import MotionDataset
from training.evaluation import metrics
from training.evaluation.codecs import EngineCodec, Sizes, is_run, open_codec, sizes_of
from training.evaluation.pictures import windows
from training.evaluation.progress import shown
from training.evaluation.roundtrip import Codec, DrawingCodec, Result, Track, long_enough, run_clip

__all__ = ["EngineCodec", "Evaluation", "evaluate", "figures", "run_sets"]

CENTIMETRES = 100.0


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A set of recordings before and after, the figures of its pictures window by window, and files left out."""

    result: Result
    windows: Sequence[dict[str, float]]
    faults: Sequence[str] = ()


def figures(of: Result | Evaluation, sizes: Sizes | TokenizerSpec) -> dict[str, float]:
    """Return the figures of a set of recordings by plain names, as `training.evaluation.metrics` defines them.

    Lengths are in cm or, `joint_error_px`, in pixels of the heatmap; joints that did not go in are not judged, and
    figures of joints are missing where only heatmaps come out. Pictures are judged in windows of 64 frames: those that
    a run's network decodes itself, and of an exported tokenizer Gaussians at the joints that it decodes.
    """
    sizes = sizes_of(sizes) if isinstance(sizes, TokenizerSpec) else sizes
    if isinstance(of, Result):
        of = Evaluation(of, [row for track in of.tracks for row in picture_rows(track, sizes)])
    tracks = of.result.tracks
    found = {"seconds": of.result.seconds, "recordings": len(tracks)}
    if not any(np.isnan(track.placed).any() for track in tracks):
        found |= _joint_figures(tracks, sizes)
    return {
        **found,
        **metrics.mean_of(of.windows),
        **metrics.token_metrics(of.result.tokens, sizes.vocabulary, sizes.fps / sizes.hop),
        "files_left_out": len(of.faults),
    }


def _joint_figures(tracks: Sequence[Track], sizes: Sizes) -> dict[str, float]:
    errors = [track.errors_cm for track in tracks]
    cm = np.concatenate([e[t.known] for e, t in zip(errors, tracks, strict=True)])
    px = np.concatenate([(e / t.side)[t.known] * sizes.grid for e, t in zip(errors, tracks, strict=True)])
    close = [metrics.correct_keypoints(e, t.side)[t.known] for e, t in zip(errors, tracks, strict=True)]
    moved = {order: np.concatenate([_moved(track, order, sizes.fps) for track in tracks]) for order in (1, 3)}
    return {
        "joint_error_cm": float(cm.mean()),
        "joint_error_median_cm": float(np.median(cm)),
        "joint_error_p95_cm": float(np.percentile(cm, 95)),
        "joint_error_px": float(px.mean()),
        "pck": float(np.concatenate(close).mean()),
        "velocity_error_cm_s": float(moved[1].mean()),
        "jerk_error_m_s3": float(moved[3].mean()) / CENTIMETRES,
    }


def _moved(track: Track, order: int, fps: float) -> metrics.Floats:
    """Return the errors of a derivative where all the frames that it is made of are known."""
    errors = metrics.motion_errors(track.truth, track.decoded, order, fps)
    frames = len(track.known) - order
    known = np.all([track.known[i : i + frames] for i in range(order + 1)], axis=0)
    return np.asarray(errors[known])


def picture_rows(track: Track, sizes: Sizes) -> list[dict[str, float]]:
    """Return the figures of a recording's pictures, window by window."""
    return [metrics.picture_metrics(*pair) for pair in windows(track, sizes.grid, sizes.sigma)]


def run_sets(
    codec: Codec | DrawingCodec,
    sizes: Sizes,
    data: Sequence[Path],
    every: int = 1,
    pictures: bool = True,
    whole: int = 1,
) -> dict[str, Evaluation]:
    """Send sets of recordings through a codec: by path, its last two parts, or more where these are alike.

    every: take each so manieth recording; pictures: judge the heatmaps too; whole: take multiples of so many frames.
    Headings are the same for every codec.

    Raises FileNotFoundError or ValueError as `MotionDataset.read` does, and ValueError where no recording of a set is
    as long as a hop.
    """
    found = {}
    for name, path in zip(names_of(data), data, strict=True):
        dataset = MotionDataset.read(path)
        rng = np.random.default_rng(0)
        tracks, rows = [], []
        for clip in shown(long_enough(dataset.clips[::every], math.lcm(sizes.hop, whole)), name):
            track = run_clip(codec, clip, sizes.dims, sizes.hop, rng, sizes.views, whole)
            rows += picture_rows(track, sizes) if pictures else []
            tracks.append(dataclasses.replace(track, maps=None))  # they are large, and judged already
        found[name] = Evaluation(Result(tracks), rows, dataset.faults)
    return found


def names_of(data: Sequence[Path]) -> list[str]:
    """Return short names for paths. Raises ValueError where one is there twice."""
    for parts in range(2, 2 + max((len(path.parts) for path in data), default=0)):
        names = ["/".join(path.parts[-parts:]) for path in data]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"the same recordings are there twice: {', '.join(map(str, data))}")


def together(sets: dict[str, Evaluation]) -> Evaluation:
    """Return all sets as one."""
    parts = sets.values()
    return Evaluation(
        Result([track for part in parts for track in part.result.tracks]),
        [row for part in parts for row in part.windows],
        [fault for part in parts for fault in part.faults],
    )


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
