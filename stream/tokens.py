"""Tokens of one person: what a Tokenizer makes of motion, and what it makes motion of."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.spec import TokenizerSpec
from stream.codec.encode import Hop, Ids
from stream.motion.skeleton import Array

WORD = re.compile(r"<m(\d{1,9})>")


class HasSpec(Protocol):
    """A `Tokenizer`, or anything else that says what its tokens look like."""

    @property
    def spec(self) -> TokenizerSpec:
        """What the tokenizer's configuration says."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens of one person, hop by hop. The ids say how the body moves; where it is and how large says the box.

    ids: uint16 [hops, L, t, h, w], each below `vocabulary`, coarsest level first; boxes: float32 [hops, D + 1],
    (*centre, side) in the units that went in; observed: uint64 [hops], bit i set where frame i of the hop was seen,
    else it was held; frames: int64 [hops], index of each hop's first frame on the clock of `fps`; reset: bool [hops],
    the state began afresh before this hop. tokenizer: its label, name@hash.
    """

    tokenizer: str
    vocabulary: int
    hop: int
    fps: float
    ids: Ids
    boxes: Array
    observed: NDArray[np.uint64]
    frames: NDArray[np.int64]
    reset: NDArray[np.bool_]

    @classmethod
    def from_hops(cls, hops: Sequence[Hop], tokenizer: HasSpec) -> Self:
        """Gather the hops of one person, as `Tokenizer.stream` gives them. Raises ValueError where there are none."""
        if not hops:
            raise ValueError("no hops: gather at least one")
        spec = tokenizer.spec
        return cls(
            spec.label,
            spec.vocabulary,
            spec.hop,
            spec.fps,
            np.stack([hop.ids for hop in hops]),
            np.array([hop.box for hop in hops], np.float32),
            np.array([hop.observed for hop in hops], np.uint64),
            np.array([hop.frame for hop in hops], np.int64),
            np.array([hop.reset for hop in hops]),
        )

    @classmethod
    def from_flat(cls, ids: ArrayLike, tokenizer: HasSpec, boxes: ArrayLike | None = None) -> Self:
        """Return the tokens of whole hops whose ids come one after the other, as from `flat`.

        ids: whole numbers [hops * tokens per hop]; boxes: [hops, D + 1], by default all of side 1 around 0. Every frame
        counts as seen. Raises ValueError for ids that are not those of whole hops.
        """
        spec = tokenizer.spec
        levels = spec.token_grid[0]
        flat: NDArray[Any] = np.asarray(ids)
        if flat.ndim != 1 or flat.dtype.kind not in "iu" or not len(flat) or len(flat) % spec.tokens_per_hop:
            raise ValueError(
                f"{spec.name} has {spec.tokens_per_hop} ids a hop: give whole numbers, a multiple of "
                f"{spec.tokens_per_hop} of them in one row, not {flat.dtype} {list(flat.shape)}"
            )
        grid = flat.astype(np.int64).reshape(-1, *spec.token_grid)
        plain = grid - _offsets(levels, spec.vocabulary)
        if wrong := np.argwhere((plain < 0) | (plain >= spec.vocabulary)).tolist():
            hop, level = wrong[0][:2]
            low = level * spec.vocabulary
            raise ValueError(
                f"id {grid[tuple(wrong[0])]} at hop {hop}: level {level} of {spec.name} has the ids {low} to "
                f"{low + spec.vocabulary - 1}"
            )
        hops = len(plain)
        placed = np.array([[0.0] * spec.dims + [1.0]] * hops if boxes is None else boxes, np.float32)
        if placed.shape != (hops, spec.dims + 1) or not np.isfinite(placed).all():
            raise ValueError(
                f"boxes must be {spec.dims + 1} finite numbers for each of {hops} hops, not {list(placed.shape)}"
            )
        observed = np.full(hops, (1 << spec.hop) - 1, np.uint64)
        frames = np.arange(hops, dtype=np.int64) * spec.hop
        ids16 = plain.astype(np.uint16)
        return cls(
            spec.label, spec.vocabulary, spec.hop, spec.fps, ids16, placed, observed, frames, np.arange(hops) == 0
        )

    @classmethod
    def from_text(cls, text: str, tokenizer: HasSpec, boxes: ArrayLike | None = None) -> Self:
        """Return the tokens of words such as "<m17> <m401>", as from `text`; else as `from_flat`."""
        words = text.split()
        found = [WORD.fullmatch(word) for word in words]
        if None in found:
            number = found.index(None)
            raise ValueError(f"word {number + 1} is {words[number][:40]!r}: a motion token is written <m17>")
        return cls.from_flat(np.array([int(match[1]) for match in found if match], np.int64), tokenizer, boxes)

    def flat(self) -> NDArray[np.int64]:
        """Return the ids of one vocabulary for all levels, one after the other: int64 [hops * tokens per hop].

        Level l holds the ids l * vocabulary to (l + 1) * vocabulary - 1. The order is hop, level, time, row, column.
        """
        return (self.ids + _offsets(self.ids.shape[1], self.vocabulary)).ravel()

    def text(self) -> str:
        """Return the ids as words for a language model: "<m17> <m401> ...", numbers as in `flat`."""
        return " ".join(f"<m{number}>" for number in self.flat())

    def hops(self, track: int = 0) -> Iterator[Hop]:
        """Yield the hops, as of one person of a stream; `captured_ns` is the time of the last frame on the clock."""
        for row in range(len(self)):
            frame, box = int(self.frames[row]), tuple(map(float, self.boxes[row]))
            captured_ns = round((frame + self.hop - 1) / self.fps * 1e9)
            yield Hop(track, frame, captured_ns, self.ids[row], box, int(self.observed[row]), bool(self.reset[row]))

    def __len__(self) -> int:
        """How many hops there are."""
        return len(self.ids)

    def __getitem__(self, part: slice) -> Self:
        """Return some of the hops, as in `tokens[10:20]`. A decoder starts afresh at the first of them."""
        if not isinstance(part, slice):
            raise TypeError("take hops as a slice: tokens[3:4] is the fourth hop")
        return type(self)(
            self.tokenizer,
            self.vocabulary,
            self.hop,
            self.fps,
            self.ids[part],
            self.boxes[part],
            self.observed[part],
            self.frames[part],
            self.reset[part],
        )


def _offsets(levels: int, vocabulary: int) -> NDArray[np.int64]:
    """Return what is added to the ids of each level: int64 [L, 1, 1, 1]."""
    return (np.arange(levels, dtype=np.int64) * vocabulary)[:, None, None, None]
