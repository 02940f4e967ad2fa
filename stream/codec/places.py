"""Where a box is and how large, as a few words a hop: steps from the hop before, so that a text can walk across a room.

    box'.centre = box.centre + x * STEP * box.side,   box'.side = box.side * 2^(s * OCTAVE)

Steps are counted from the box that the words before came to, so what rounding leaves does not add up: a box is off by
half a step at most, 1.4 cm for somebody 1.8 m tall, except where it jumps farther than the largest step.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream.motion.skeleton import Array

STEP = 1 / 64
"""Of the centre, in sides of the box before."""

OCTAVE = 1 / 32
"""Of the side, in doublings."""

MOST = 64
"""Largest step up or down: a whole side, two doublings."""

WORD = re.compile(r"<([xyzs])([+-]\d{1,2})>")

Steps = NDArray[np.int64]


def steps_of(boxes: Array) -> Steps:
    """Return the steps, int64 [hops, D + 1], of boxes [hops, D + 1], each from where the ones before came to.

    The first box is where the steps begin: its own are 0.
    """
    found = np.zeros(boxes.shape, np.int64)
    at = boxes[:1]
    for row, box in zip(found[1:], boxes[1:], strict=True):
        wanted = np.append((box[:-1] - at[0, :-1]) / (STEP * at[0, -1]), np.log2(box[-1] / at[0, -1]) / OCTAVE)
        row[:] = np.clip(np.rint(wanted), -MOST, MOST)
        at = boxes_of(row[None], at[0])
    return found


def boxes_of(steps: Steps, start: Sequence[float] | Array) -> Array:
    """Return the boxes, [hops, D + 1], to which steps lead from a box before the first of them."""
    box, found = np.asarray(start, np.float64), []
    for row in steps:
        box = np.append(box[:-1] + row[:-1] * STEP * box[-1], box[-1] * 2.0 ** (row[-1] * OCTAVE))
        found.append(box)
    return np.array(found, np.float32)


def words_of(steps: Steps) -> list[str]:
    """Return the words of each hop, as "<x+3> <y-1> <s+0>"."""
    letters = _letters(steps.shape[1])
    return [" ".join(f"<{name}{count:+d}>" for name, count in zip(letters, row, strict=True)) for row in steps.tolist()]


def read_steps(words: Sequence[str], dims: int) -> Steps:
    """Return the steps of words that `words_of` made, int64 [hops, D + 1]. Raises ValueError for others."""
    letters = _letters(dims + 1)
    found = [WORD.fullmatch(word) for word in words]
    for number, (word, match) in enumerate(zip(words, found, strict=True)):
        due = letters[number % len(letters)]
        if match is None or match[1] != due or abs(int(match[2])) > MOST:
            raise ValueError(f"{word[:40]!r}: a word such as <{due}+3>, of -{MOST} to +{MOST}, is due for hop "
                             f"{number // len(letters)}")  # fmt: skip
    if len(words) % len(letters):
        raise ValueError(f"each hop needs words for {', '.join(letters)}: the last one has {len(words) % len(letters)}")
    return np.array([int(match[2]) for match in found if match], np.int64).reshape(-1, len(letters))


def _letters(count: int) -> str:
    return "xyz"[: count - 1] + "s"
