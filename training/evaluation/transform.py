"""A transform codec without a network: the line that linear algebra draws, and that tokens have to stay below.

Closed loop: each hop is predicted linearly from the hops decoded before it, and only what the prediction misses is
coded: its Karhunen-Loeve coefficients, rounded to one step. Least squares, covariances and tables of frequencies are
fitted on training recordings; what is judged is coded with those. It looks only back and in the boxes that tokens use.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.motion.clips import Clip, Mask
from stream.motion.skeleton import MIRROR, Array, J
from training.data.dataset import read_clips
from training.data.windows import boxed
from training.evaluation.roundtrip import at_clock_rate, long_enough

PAST = 2
"""Decoded hops that a prediction is made from."""

STEPS = (0.18, 0.13, 0.09, 0.065, 0.045, 0.03, 0.02)
"""Rounding steps of the coefficients, as shares of the box's side."""

ROUNDS = 2
"""Times the prediction is fitted again on what the codec before it decoded, at each step."""

RIDGE = 1e-5
"""Of the least squares, in squared box units per hop: keeps the fit of few recordings from blowing up."""

ESCAPE = 1.0
"""Weight, in occurrences, of the geometric distribution that stands in for numbers not met in training."""

Whole = NDArray[np.int64]
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Recording:
    """What the codec takes. joints: [T, 17, D], px or cm, T whole hops; known: [T, 17]."""

    joints: Array
    known: Mask


@dataclass(frozen=True)
class Batch:
    """Recordings hop by hop, longest first, so that those that last to hop t are the first `len(x[t])`.

    P = hop * 17 * D. x: [N, P] for each hop, box coordinates; known: bool [N, P]; boxes: [N, D + 1], centre and side;
    order: which recording each row is.
    """

    x: Sequence[Array]
    known: Sequence[Mask]
    boxes: Sequence[Array]
    order: Sequence[int]


def batch_of(recordings: Sequence[Recording], hop: int) -> Batch:
    """Put recordings in their causal boxes, each from a fresh start, and sort them by length."""
    order = sorted(range(len(recordings)), key=lambda i: -len(recordings[i].joints))
    by_recording = []
    for i in order:
        joints, known = recordings[i].joints[None], recordings[i].known[None]
        window = boxed(joints, known.astype(np.float32), joints, hop)
        hops = window.boxes.shape[1]
        present = np.broadcast_to(window.keypoints[0, ..., -1:] > 0, joints[0].shape)
        by_recording.append((window.truth.reshape(hops, -1), present.reshape(hops, -1), window.boxes[0]))
    longest = len(by_recording[0][0])
    columns = [[row for row in by_recording if len(row[0]) > t] for t in range(longest)]
    return Batch(
        x=[np.stack([x[t] for x, _, _ in rows]) for t, rows in enumerate(columns)],
        known=[np.stack([known[t] for _, known, _ in rows]) for t, rows in enumerate(columns)],
        boxes=[np.stack([boxes[t] for _, _, boxes in rows]) for t, rows in enumerate(columns)],
        order=order,
    )


@dataclass(frozen=True)
class TransformCodec:
    """The codec at one step. P = hop * 17 * D.

    mean: [P], the pose that stands for the past of a fresh start, box coordinates; weights: [PAST * P, P], prediction
    of the difference to the mean from that of the past; basis: [P, P], columns orthonormal.
    """

    mean: NDArray[np.float64]
    weights: NDArray[np.float64]
    basis: NDArray[np.float64]
    step: float

    def run(self, batch: Batch, clean: bool = False) -> Iterator[tuple[Floats, Floats, Whole]]:
        """Code recordings; yield for each hop the past [N, PAST * P], what is decoded [N, P], the numbers [N, P].

        Past and decoded are differences to the mean, in the boxes of that hop. An unknown joint counts as predicted
        rightly: it costs nothing and is decoded as predicted. clean: the past is the recordings themselves, as if
        nothing were lost, unknown joints as predicted.
        """
        past: list[Floats] = []  # newest first; places, px or cm
        for x, known, box in zip(batch.x, batch.known, batch.boxes, strict=True):
            before = [_moved(places[: len(x)], box) - self.mean for places in past]
            before += [np.zeros_like(x)] * (PAST - len(before))
            history = np.concatenate(before, axis=1)
            guess = self.mean + history @ self.weights
            missed = np.where(known, x - guess, 0)
            numbers = np.rint(missed @ self.basis / self.step).astype(np.int64)
            decoded = guess + (numbers * self.step) @ self.basis.T
            yield history, decoded - self.mean, numbers
            past = [
                _placed(np.where(known, x, decoded) if clean else decoded, box),
                *[places[: len(x)] for places in past],
            ][:PAST]

    def code(self, recordings: Sequence[Recording], hop: int) -> list[tuple[Floats, Whole]]:
        """Return for each recording what is decoded, [T, 17, D] in px or cm, and its numbers [hops, P]."""
        batch = batch_of(recordings, hop)
        places: list[list[Floats]] = [[] for _ in recordings]
        numbers: list[list[Whole]] = [[] for _ in recordings]
        for (_, decoded, whole), box in zip(self.run(batch), batch.boxes, strict=True):
            for row, i in enumerate(batch.order[: len(whole)]):
                places[i].append(_placed(decoded[row] + self.mean, box[row]))
                numbers[i].append(whole[row])
        shape = (-1, *recordings[0].joints.shape[1:])
        return [(np.concatenate(p).reshape(shape), np.stack(n)) for p, n in zip(places, numbers, strict=True)]


def _placed(x: Floats, box: Array) -> Floats:
    """Return the places, px or cm, of box coordinates [..., P]; box [..., D + 1]."""
    joints = x.reshape(*x.shape[:-1], -1, box.shape[-1] - 1)
    return np.asarray(((joints - 0.5) * box[..., None, -1:] + box[..., None, :-1]).reshape(x.shape))


def _moved(places: Floats, box: Array) -> Floats:
    """Return the coordinates in a box of places [N, P], px or cm."""
    joints = places.reshape(len(places), -1, box.shape[-1] - 1)
    return np.asarray(((joints - box[:, None, :-1]) / box[:, None, -1:] + 0.5).reshape(places.shape))


def fitted(batch: Batch, steps: Sequence[float] = STEPS) -> Iterator[TransformCodec]:
    """Yield the codec for each step, fitted on training recordings, each from the one before it."""
    width = batch.x[0].shape[1]
    known = np.concatenate(batch.known)
    total = np.where(known, np.concatenate(batch.x), 0).sum(axis=0, dtype=np.float64)
    mean = np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), 0.5)  # never known: the box's middle
    codec = TransformCodec(mean, np.zeros((PAST * width, width)), np.eye(width), steps[0])
    codec = _refitted(codec, batch, clean=True)
    for step in steps:
        codec = replace(codec, step=step)
        for _ in range(ROUNDS):
            codec = _refitted(codec, batch, clean=False)
        yield codec


def _refitted(codec: TransformCodec, batch: Batch, clean: bool) -> TransformCodec:
    """Fit prediction and transform on the past that this codec leaves."""
    coded = [(past, decoded) for past, decoded, _ in codec.run(batch, clean)]
    history = np.concatenate([past for past, _ in coded])
    known = np.concatenate(batch.known)
    target = np.where(known, np.concatenate(batch.x) - codec.mean, np.concatenate([decoded for _, decoded in coded]))
    gram = history.T @ history + RIDGE * len(history) * np.eye(history.shape[1])
    weights = np.linalg.solve(gram, history.T @ target)
    missed = np.where(known, target - history @ weights, 0)
    return replace(codec, weights=weights, basis=np.linalg.eigh(missed.T @ missed)[1][:, ::-1])


def table_bits(training: Whole, judged: Whole) -> float:
    """Return the bits of numbers [hops, P] under the frequencies that training numbers have at each place.

    An ideal coder with static tables. Numbers not met in training cost what a geometric distribution of the training
    numbers' mean size gives them, which has a weight of `ESCAPE` occurrences.
    """
    total = 0.0
    for known, column in zip(training.T, judged.T, strict=True):
        values, counts = np.unique(known, return_counts=True)
        ratio = np.abs(known).sum() / (len(known) + np.abs(known).sum() + 1) + 1e-4
        escape = (1 - ratio) / (1 + ratio) * ratio ** np.abs(column)
        at = np.minimum(np.searchsorted(values, column), len(values) - 1)
        met = np.where(values[at] == column, counts[at], 0)
        total -= float(np.log2((met + ESCAPE * escape) / (len(known) + ESCAPE)).sum())
    return total


def training_recordings(sets: Sequence[Path], dims: int, hop: int, seed: int = 0) -> list[Recording]:
    """Return the recordings of training sets as they are seen live, turned to random headings, half of them mirrored.

    Each set is taken as often as makes it about as long as the longest.
    """
    rng = np.random.default_rng(seed)
    clips = [long_enough(read_clips(path), hop) for path in sets]
    seconds = [sum(len(clip.joints) / clip.fps for clip in of_set) for of_set in clips]
    found = []
    for of_set, length in zip(clips, seconds, strict=True):
        for _ in range(round(max(seconds) / length)):
            found += list(_seen(of_set, dims, hop, rng))
    return found


def _seen(clips: Iterable[Clip], dims: int, hop: int, rng: np.random.Generator) -> Iterator[Recording]:
    for clip in clips:
        joints, known = at_clock_rate(clip, dims, rng.uniform(0, 2 * np.pi))
        if rng.random() < 0.5:
            joints, known = joints[:, MIRROR] * np.array([-1, *[1] * (dims - 1)], np.float32), known[:, MIRROR]
        frames = len(joints) // hop * hop
        yield Recording(joints[:frames], known[:frames])


def can_code(joints: Array) -> bool:
    """Say whether a recording's joints [T, J, D] are those of one camera, as the codec needs them."""
    return joints.shape[1] == J
