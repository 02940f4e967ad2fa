"""Bits against error: of tokens, of a transform codec, and of joints rounded and compressed without either.

Without one, one rounds the joints, keeps the differences from frame to frame and compresses those. Either the joints
around the body's middle, whose own path is not counted, as the boxes of the tokens' packets are not; or their places in
the room, where nothing is left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zstandard
from numpy.typing import NDArray

from engine.errors import TokenizerError
from engine.prior import Prior, prior_of
from stream.codec.rate import Rate
from training import markdown
from training.evaluation.codecs import EngineCodec, open_codec
from training.evaluation.metrics import entropy, joint_errors, token_metrics
from training.evaluation.prior_bits import bits_of
from training.evaluation.roundtrip import Codec, CodecInfo, DrawingCodec, Result, Track
from training.evaluation.sets import run_sets, together
from training.evaluation.transform import (
    Recording,
    TransformCodec,
    Whole,
    batch_of,
    can_code,
    fitted,
    table_bits,
    training_recordings,
)

GRIDS = (256, 128, 64, 32, 24, 16)
"""Steps across the largest box of a recording to which joints are rounded: 8 bits, 7, 6 and so on."""

TRANSFORM = "transform codec"
"""Name of its curve."""

LEVEL = 19
"""Of zstd: its strongest that needs no extra memory to decode."""


@dataclass(frozen=True)
class Point:
    """One way to keep motion: bits per second per person against the mean joint error.

    bits: as they are, whole bits per number, enough for those of a recording; entropy: under an ideal coder that knows
    how often each number occurs at each place (coordinate of a joint, or place of the token grid) in the whole set
    (first-order entropy); zstd: what zstd really makes of each recording; prior: under an ideal coder that has the
    prior which ships for a tokenizer, None without one.
    """

    name: str
    joint_error_cm: float
    bits: float
    entropy: float
    zstd: float
    prior: float | None = None


def rounded(tracks: Sequence[Track], grid: int, room: bool) -> Point:
    """Round the joints of recordings to 1 / grid of their largest box and code the differences between frames."""
    errors, differences, plain, first, packed, seconds = [], [], 0.0, 0.0, 0, 0.0
    for track in tracks:
        joints = track.truth.astype(np.float64)
        step = float(track.side.max()) / grid
        middle = np.zeros((1, 1, 1)) if room else joints.mean(axis=1, keepdims=True)
        whole = np.rint((joints - middle) / step).astype(np.int64)
        errors.append(joint_errors(joints, whole * step + middle)[track.known])
        flat = whole.reshape(len(whole), -1)
        bits = max(1, int(np.ceil(np.log2(np.ptp(flat) + 1))))
        plain += flat.size * bits
        first += flat.shape[1] * bits
        differences.append(np.diff(flat, axis=0))
        packed += 8 * _zstd(np.diff(flat, axis=0, prepend=0))
        seconds += track.seconds
    every = np.concatenate(differences)
    ideal = len(every) * sum(entropy(np.unique(column, return_counts=True)[1]) for column in every.T) + first
    return Point(
        name=f"{'room' if room else 'body'}, {grid} steps",
        joint_error_cm=float(np.concatenate(errors).mean()),
        bits=plain / seconds,
        entropy=ideal / seconds,
        zstd=packed / seconds,
    )


def tokenized(name: str, result: Result, sizes: CodecInfo, prior: Prior | None) -> Point:
    """Return the point of a tokenizer from what it made of recordings."""
    cost = token_metrics(result.tokens, sizes.vocabulary, sizes.fps / sizes.hop)
    packed = sum(8 * _zstd(track.tokens.reshape(len(track.tokens), -1)) for track in result.tracks)
    return Point(
        name=name,
        joint_error_cm=float(result.errors_cm.mean()),
        bits=cost["bits_per_second"],
        entropy=cost["bits_per_second_entropy"],
        zstd=packed / result.seconds,
        prior=bits_of(prior, result.tracks, sizes.hop) / result.seconds if prior else None,
    )


def transformed(codec: TransformCodec, tracks: Sequence[Track], training: Whole, hop: int) -> Point:
    """Return the point of a transform codec on recordings. training: its numbers on what it was fitted on, [hops, P].

    Whole bits per number are those of its place's range in these recordings; its tables are those of the training.
    """
    coded = codec.code([Recording(track.truth, track.known) for track in tracks], hop)
    errors = [joint_errors(t.truth, joints)[t.known] for t, (joints, _) in zip(tracks, coded, strict=True)]
    numbers = np.concatenate([whole for _, whole in coded])
    seconds = sum(track.seconds for track in tracks)
    return Point(
        name=f"transform, step {codec.step:g}",
        joint_error_cm=float(np.concatenate(errors).mean()),
        bits=len(numbers) * float(np.ceil(np.log2(np.ptp(numbers, axis=0) + 1)).sum()) / seconds,
        entropy=table_bits(training, numbers) / seconds,
        zstd=sum(8 * _zstd(whole) for _, whole in coded) / seconds,
    )


def transform_curve(tracks: Sequence[Track], training: Sequence[Recording], hop: int) -> list[Point]:
    """Return the points of the transform codec, fitted on training recordings, at each of its steps."""
    batch = batch_of(training, hop)
    found = []
    for codec in fitted(batch):
        numbers = np.concatenate([whole for _, _, whole in codec.run(batch)])
        found.append(transformed(codec, tracks, numbers, hop))
    return found


def _zstd(values: NDArray[np.integer]) -> int:
    """Return the bytes of a recording's numbers [T, N] under zstd, each place's series by itself."""
    small = values.T.astype("<i2")
    return len(zstandard.ZstdCompressor(level=LEVEL).compress(np.ascontiguousarray(small).tobytes()))


def curves(
    tokenizers: Sequence[str],
    data: Sequence[Path],
    every: int = 1,
    fit: Sequence[Path] = (),
    levels: Sequence[int] = (),
) -> dict[str, list[Point]]:
    """Return the points of tokenizers or runs, of the transform codec and of rounding on the same recordings, by curve.

    fit: training sets of the transform codec, which works at the hop of the first tokenizer; without any, or where
    several cameras see the recordings, it is left out. levels: at which predictive tokenizers are judged; without any,
    with all that they have.

    Raises ValueError where the tokenizers are not all 2D or all 3D, or one decodes no joints.
    """
    found: dict[str, list[Point]] = {"tokens": []}
    tracks: Sequence[Track] = ()
    hop = 0
    for name in tokenizers:
        codec, sizes = open_codec(name)
        for title, at_rate, prior in _at_rates(codec, sizes, levels):
            result = together(run_sets(at_rate, sizes, data, every, pictures=False)).result
            if np.isnan(result.tracks[0].placed).any():
                raise ValueError(f"{name} decodes heatmaps without joints: it has no joint error")
            if tracks and tracks[0].truth.shape[1:] != result.tracks[0].truth.shape[1:]:
                raise ValueError(f"{name} is of other dimensions than {tokenizers[0]}: compare 2D with 2D, 3D with 3D")
            found["tokens"].append(tokenized(title, result, sizes, prior))
            tracks, hop = (tracks, hop) if tracks else (result.tracks, sizes.hop)
    if fit and can_code(tracks[0].truth):
        training = training_recordings(fit, tracks[0].truth.shape[-1], hop)
        found[TRANSFORM] = transform_curve(tracks, training, hop)
    found["joints around the body, rounded"] = [rounded(tracks, grid, room=False) for grid in GRIDS]
    found["joints in the room, rounded"] = [rounded(tracks, grid, room=True) for grid in GRIDS]
    return found


def _at_rates(
    codec: Codec | DrawingCodec, sizes: CodecInfo, levels: Sequence[int]
) -> Iterator[tuple[str, Codec | DrawingCodec, Prior | None]]:
    """Yield a tokenizer under its name; a predictive one at each number of levels that it has, and its prior."""
    if not (isinstance(codec, EngineCodec) and codec.encoder.spec.predictive):
        yield sizes.name, codec, None
        return
    try:
        prior = prior_of(codec.encoder.spec.label)
    except TokenizerError:
        prior = None
    most = codec.encoder.spec.token_grid[0]
    for count in [each for each in levels if each <= most] or [most]:
        yield f"{sizes.name}, {count} levels", codec.at(Rate(levels=count)), prior


def table(found: dict[str, list[Point]]) -> str:
    """Return the points as a table in Markdown, smallest error first."""
    titles = ["how", "joint error, cm", "bit/s", "bit/s, first-order entropy", "bit/s, zstd", "bit/s, prior"]
    points = sorted((point for curve in found.values() for point in curve), key=lambda point: point.joint_error_cm)
    rows = [
        [p.name, f"{p.joint_error_cm:.2f}", *(_whole(bits) for bits in (p.bits, p.entropy, p.zstd, p.prior))]
        for p in points
    ]
    return "\n".join(markdown.table(titles, rows))


def _whole(bits: float | None) -> str:
    return "" if bits is None else f"{bits:.0f}"
