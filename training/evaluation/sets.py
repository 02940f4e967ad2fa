"""Sets of recordings sent through a codec, and their figures."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.spec import TokenizerSpec
from training.data.dataset import MotionDataset
from training.evaluation import metrics
from training.evaluation.progress import shown
from training.evaluation.roundtrip import (
    Codec,
    CodecInfo,
    DrawingCodec,
    Result,
    Track,
    codec_info,
    long_enough,
    run_clip,
    windows,
)

CENTIMETRES = 100.0


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A set of recordings before and after, the figures of its pictures window by window, and files left out."""

    result: Result
    windows: Sequence[dict[str, float]]
    faults: Sequence[str] = ()


def figures(of: Result | Evaluation, sizes: CodecInfo | TokenizerSpec) -> dict[str, float]:
    """Return the figures of a set of recordings by plain names, as `training.evaluation.metrics` defines them.

    Lengths are in cm or, `joint_error_px`, in pixels of the heatmap; joints that did not go in are not judged, and
    figures of joints are missing where only heatmaps come out. Pictures are judged in windows of 64 frames: those that
    a run's network decodes itself, and of an exported tokenizer Gaussians at the joints that it decodes.
    """
    sizes = codec_info(sizes) if isinstance(sizes, TokenizerSpec) else sizes
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


def _joint_figures(tracks: Sequence[Track], sizes: CodecInfo) -> dict[str, float]:
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


def picture_rows(track: Track, sizes: CodecInfo) -> list[dict[str, float]]:
    """Return the figures of a recording's pictures, window by window."""
    return [metrics.picture_metrics(*pair) for pair in windows(track, sizes.grid, sizes.sigma)]


def run_sets(
    codec: Codec | DrawingCodec,
    sizes: CodecInfo,
    data: Sequence[Path],
    every: int = 1,
    pictures: bool = True,
    whole: int = 1,
) -> dict[str, Evaluation]:
    """Send sets of recordings through a codec: by path, its last two parts, or more where these are alike.

    every: use every N-th recording; pictures: judge the heatmaps too; whole: use a multiple of this many frames.
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
