"""Encoding and decoding of whole recordings, hop by hop as a live stream would, and the error that this leaves."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.motion import box as boxes
from stream.motion.clock import FPS
from training.data.limbs import turn
from training.data.recordings import Clip
from training.data.windows import Array

Tokens = NDArray[np.integer]


class Codec(Protocol):
    """Something that turns keypoints into tokens and tokens into joints."""

    def roundtrip(self, keypoints: Array) -> tuple[Tokens, Array]:
        """keypoints float32 [1, T, 17, D + 1], T whole hops -> tokens [hops, ...], joints [1, T, 17, D]."""


@dataclass(frozen=True)
class Result:
    """Errors and tokens of a set of recordings."""

    errors_cm: Array  # [frames, 17]: distance of each decoded joint from what went in
    tokens: Tokens  # [hops, ...]
    seconds: float


def run_clip(codec: Codec, clip: Clip, dims: int, hop: int, rng: np.random.Generator) -> Result:
    """Send one recording through a codec from the zero state.

    The recording is taken at 30 fps and turned to a random heading; 2D is the level orthographic view, in which
    errors are centimetres too. A last hop that is not whole is left out.
    """
    index = np.arange(0, len(clip.joints) - 1, clip.fps / FPS)
    index = index[: len(index) // hop * hop]
    before = index.astype(int)
    share = (index - before).astype(np.float32)[:, None, None]
    joints = clip.joints[before] * (1 - share) + clip.joints[before + 1] * share
    joints = turn(joints[None], rng.uniform(0, 2 * np.pi, 1))[0][..., :dims].astype(np.float32)

    state = boxes.Box.fresh(1, dims)
    seen = np.ones(joints.shape[:2], np.float32)
    keypoints, placed = [], []
    for start in range(0, len(joints), hop):
        part = slice(start, start + hop)
        state = boxes.advance(state, joints[None, part], seen[None, part])
        keypoints.append(boxes.to_keypoints(joints[None, part], seen[None, part], state))
        placed.append((*state.centre[0], state.side[0]))
    tokens, decoded = codec.roundtrip(np.concatenate(keypoints, axis=1))
    back = [
        boxes.from_box(decoded[0, i * hop : (i + 1) * hop], tuple(map(float, where))) for i, where in enumerate(placed)
    ]
    errors = np.linalg.norm(np.concatenate(back) - joints, axis=-1)
    return Result(errors.astype(np.float32), tokens, len(joints) / FPS)


def run_clips(codec: Codec, clips: Iterable[Clip], dims: int, hop: int, seed: int = 0) -> Result:
    """Send recordings through a codec, each from the zero state, headings drawn from `seed`.

    Recordings shorter than a hop are left out. Raises ValueError where none is long enough.
    """
    rng = np.random.default_rng(seed)
    results = [run_clip(codec, clip, dims, hop, rng) for clip in clips if len(clip.joints) > (hop + 1) * clip.fps / FPS]
    if not results:
        raise ValueError(f"no recording is as long as one hop of {hop} frames")
    return Result(
        np.concatenate([r.errors_cm for r in results]),
        np.concatenate([r.tokens for r in results]),
        sum(r.seconds for r in results),
    )
