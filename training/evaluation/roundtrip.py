"""Encoding and decoding of whole recordings, hop by hop as a live stream would, and what this leaves of them."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from engine.spec import TokenizerSpec
from stream.motion.clips import Clip, Mask
from stream.motion.clock import FPS
from stream.motion.heatmap import marginal, planes_of
from stream.motion.skeleton import Array, J
from training.data.augment import turn
from training.data.windows import boxed
from training.evaluation.metrics import WINDOW, joint_errors

S = TypeVar("S", bound=np.generic)

Tokens = NDArray[np.integer]

PICTURE_GRID, PICTURE_SIGMA = 64, 2.0
"""Of the heatmaps by which a predictive tokenizer, which has none of its own, is judged: those of heatmap2d-f8."""


class Codec(Protocol):
    """Something that turns keypoints into tokens and tokens into joints."""

    def roundtrip(self, keypoints: Array, boxes: Array) -> tuple[Tokens, Array]:
        """keypoints float32 [1, T, 17, D + 1], T whole hops -> tokens [hops, L, ...], joints [1, T, 17, D].

        boxes: [hops, D + 1], (*centre, side) in cm; tokens are -1 for levels that are left out.
        """


@dataclass(frozen=True)
class Drawn:
    """What a codec made that decodes heatmaps. joints: [1, T, 17, D], None where its maps show none.

    truth, decoded: float32 [P, T, G, G] in 0..1, the maps of each plane as one: what should come out, what came out.
    """

    tokens: Tokens
    joints: Array | None
    truth: Array
    decoded: Array


@runtime_checkable
class DrawingCodec(Protocol):
    """A codec that decodes heatmaps."""

    def draw(self, keypoints: Array) -> Drawn:
        """keypoints as in `Codec.roundtrip`; with V cameras [1, T, V * 17, D + 1], and so the joints."""


@dataclass(frozen=True)
class Track:
    """One recording before and after. Its places are in cm; those of the box run from 0 to 1.

    truth, decoded: [T, J, D]; known: [T, J], the joints that were measured and went in; keypoints: [T, J, D + 1], in
    the box, as the encoder got them; placed: [T, J, D], in the box, as the decoder gave them; side: [T, J], of the
    box; tokens: [hops, L, ...], L levels, -1 where one is left out. J = 17, or those of several cameras one after the
    other. Where only heatmaps come out, `decoded` and `placed` are not a number. maps: what should have been drawn and
    what was, [P, T, G, G] each, None where the codec decodes joints.
    """

    name: str
    content: str
    truth: Array
    decoded: Array
    known: Mask
    keypoints: Array
    placed: Array
    side: Array
    tokens: Tokens
    maps: tuple[Array, Array] | None = None

    @property
    def seconds(self) -> float:
        """How much motion it is."""
        return len(self.truth) / FPS

    @property
    def errors_cm(self) -> Array:
        """Distance of each decoded joint from what went in: [T, J]."""
        return joint_errors(self.truth, self.decoded).astype(np.float32)


@dataclass(frozen=True)
class Result:
    """A set of recordings, each before and after."""

    tracks: Sequence[Track]

    @property
    def errors_cm(self) -> Array:
        """Distance of every known decoded joint from what went in, one after the other: [N]."""
        return np.concatenate([track.errors_cm[track.known] for track in self.tracks])

    @property
    def tokens(self) -> Tokens:
        """Tokens of all hops: [hops, ...]."""
        return np.concatenate([track.tokens for track in self.tracks])

    @property
    def seconds(self) -> float:
        """How much motion it is."""
        return sum(track.seconds for track in self.tracks)


def at_clock_rate(clip: Clip, dims: int, heading: float) -> tuple[Array, Mask]:
    """Return a recording at 30 fps, turned by a heading in radians: joints [T, 17, D] in cm, and which are known.

    2D is the level orthographic view, in which errors are centimetres too.
    """
    joints, known = clip.at(np.arange(0, len(clip.joints) - 1, clip.fps / FPS))
    return turn(joints[None], np.array([heading]))[0][..., :dims].astype(np.float32), known


def run_clip(
    codec: Codec | DrawingCodec,
    clip: Clip,
    dims: int,
    hop: int,
    rng: np.random.Generator,
    views: int = 1,
    whole: int = 1,
) -> Track:
    """Send one recording through a codec from the zero state, turned to a random heading.

    A last hop that is not whole is left out; so is what is more than a multiple of `whole` frames. views: cameras
    that see it at once, evenly around.
    """
    heading = rng.uniform(0, 2 * np.pi, 1)[0]
    seen = [at_clock_rate(clip, dims, heading + 2 * np.pi * v / views) for v in range(views)]
    frames = len(seen[0][0]) // math.lcm(hop, whole) * math.lcm(hop, whole)
    joints, known = (np.stack([j[:frames] for j, _ in seen]), np.stack([k[:frames] for _, k in seen]))
    window = boxed(joints, known.astype(np.float32), joints, hop)
    keypoints = _side_by_side(window.keypoints)
    maps = None
    if isinstance(codec, DrawingCodec):
        drawn = codec.draw(keypoints[None])
        tokens, maps = drawn.tokens, (drawn.truth, drawn.decoded)
        placed = np.full_like(keypoints[..., :-1], np.nan) if drawn.joints is None else drawn.joints[0]
    else:
        tokens, found = codec.roundtrip(keypoints[None], window.boxes[0])
        placed = found[0]
    by_frame = _side_by_side(np.repeat(np.repeat(window.boxes, hop, axis=1)[:, :, None], J, axis=2))
    centre, side = by_frame[..., :-1], by_frame[..., -1]
    return Track(
        name=clip.name,
        content=clip.content,
        truth=_side_by_side(joints),
        decoded=((placed - 0.5) * side[..., None] + centre).astype(np.float32),
        known=_side_by_side(known) & (keypoints[..., -1] > 0),
        keypoints=keypoints,
        placed=placed,
        side=side,
        tokens=tokens,
        maps=maps,
    )


def redrawn(codec: Codec | DrawingCodec, track: Track) -> Track:
    """Return the recording with its maps, where the codec draws any, made again from what went in."""
    if not isinstance(codec, DrawingCodec):
        return track
    drawn = codec.draw(track.keypoints[None])
    return replace(track, maps=(drawn.truth, drawn.decoded))


def _side_by_side(views: NDArray[S]) -> NDArray[S]:
    """Put the joints of several views after each other: [V, T, 17, ...] -> [T, V * 17, ...]."""
    return np.concatenate(list(views), axis=1)


def run_clips(codec: Codec | DrawingCodec, clips: Iterable[Clip], dims: int, hop: int, seed: int = 0) -> Result:
    """Send recordings through a codec, each from the zero state, headings drawn from `seed`.

    Recordings shorter than a hop are left out. Raises ValueError where none is long enough.
    """
    rng = np.random.default_rng(seed)
    return Result([run_clip(codec, clip, dims, hop, rng) for clip in long_enough(clips, hop)])


def long_enough(clips: Iterable[Clip], hop: int) -> list[Clip]:
    """Return the recordings that last longer than a hop. Raises ValueError where none does."""
    kept = [clip for clip in clips if len(clip.joints) > (hop + 1) * clip.fps / FPS]
    if not kept:
        raise ValueError(f"no recording is as long as one hop of {hop} frames")
    return kept


@dataclass(frozen=True)
class CodecInfo:
    """What an evaluation needs to know of a codec, as in `TokenizerSpec`. hop: frames that it takes at once."""

    name: str
    dims: int
    hop: int
    grid: int
    sigma: float
    vocabulary: int
    fps: float
    views: int = 1


def codec_info(spec: TokenizerSpec) -> CodecInfo:
    """Return what an evaluation needs to know of an exported tokenizer."""
    drawn = (PICTURE_GRID, PICTURE_SIGMA) if spec.predictive else (spec.grid, spec.sigma)
    return CodecInfo(spec.label, spec.dims, spec.hop, *drawn, spec.vocabulary, spec.fps)


def combined(keypoints: Array, grid: int, sigma: float) -> Array:
    """Return the largest of the joints' Gaussians at each pixel, plane by plane: [T, 17, D + 1] -> [P, T, G, G].

    P = 1 plane for D = 2, the three projections for D = 3. Equals the maximum over the joints of
    `stream.motion.heatmap.draw`, without drawing all of them.
    """
    planes = planes_of(keypoints.shape[-1] - 1)
    maps = np.zeros((len(planes), len(keypoints), grid, grid), np.float32)
    for picture, (column, row) in zip(maps, planes, strict=True):
        across = marginal(keypoints[..., column], grid, sigma) * keypoints[..., -1, None]
        down = marginal(keypoints[..., row], grid, sigma)
        for joint in range(keypoints.shape[1]):
            np.maximum(picture, down[:, joint, :, None] * across[:, joint, None, :], out=picture)
    return maps


def decoded_keypoints(track: Track) -> Array:
    """Return the decoded joints as keypoints [T, 17, D + 1]; those that did not go in are not judged and left out."""
    present = track.known[..., None].astype(np.float32)
    return np.concatenate([track.placed, np.ones_like(present)], axis=-1) * present


def windows(track: Track, grid: int, sigma: float) -> Iterator[tuple[Array, Array]]:
    """Yield the pictures of what went in and of what came out, [P, T, G, G] each, window by window of 64 frames.

    What came out is what the codec drew, else Gaussians at the joints that it decoded. A shorter recording is one
    window; of a longer one, what is left at the end is not judged.
    """
    out = decoded_keypoints(track)
    whole = len(track.truth) // WINDOW * WINDOW or len(track.truth)
    for start in range(0, whole, WINDOW):
        part = slice(start, min(start + WINDOW, whole))
        if track.maps is not None:
            yield track.maps[0][:, part], track.maps[1][:, part]
        else:
            yield combined(track.keypoints[part], grid, sigma), combined(out[part], grid, sigma)
