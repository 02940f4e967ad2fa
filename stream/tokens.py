"""Tokens of one person: what a Tokenizer makes of motion, and what it makes motion of."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.spec import TokenizerSpec
from stream.codec.encode import Hop
from stream.codec.inputs import ABSENT, levels_of, padded
from stream.codec.places import WORD as PLACE
from stream.codec.places import boxes_of, read_steps, steps_of, words_of
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

    ids: uint16 [hops, L, t, h, w], each below `vocabulary`, coarsest level first; int32 with -1 in place of the last
    levels where a predictive tokenizer has left some out; boxes: float32 [hops, D + 1], (*centre, side) in the units
    that went in; observed: uint64 [hops], bit i set where frame i of the hop was seen, else it was held; frames: int64
    [hops], index of each hop's first frame on the clock of `fps`; reset: bool [hops], the state began afresh before
    this hop. tokenizer: its label, name@hash.
    """

    tokenizer: str
    vocabulary: int
    hop: int
    fps: float
    ids: NDArray[np.uint16] | NDArray[np.int32]
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
            _narrowed(padded([hop.ids for hop in hops], spec.token_grid[0])),
            np.array([hop.box for hop in hops], np.float32),
            np.array([hop.observed for hop in hops], np.uint64),
            np.array([hop.frame for hop in hops], np.int64),
            np.array([hop.reset for hop in hops]),
        )

    @classmethod
    def from_flat(cls, ids: ArrayLike, tokenizer: HasSpec, boxes: ArrayLike | None = None) -> Self:
        """Return the tokens of whole hops whose ids come one after the other, as from `flat`.

        ids: whole numbers [hops * tokens per hop], fewer where levels are left out; boxes: [hops, D + 1], by default
        all of side 1 around 0. Every frame counts as seen. Raises ValueError for ids that are not those of whole hops.
        """
        spec = tokenizer.spec
        flat: NDArray[Any] = np.asarray(ids)
        whole = spec.predictive or not len(flat) % spec.tokens_per_hop
        if flat.ndim != 1 or flat.dtype.kind not in "iu" or not len(flat) or not whole:
            raise ValueError(
                f"{spec.name} has {spec.tokens_per_hop} ids a hop: give whole numbers, a multiple of "
                f"{spec.tokens_per_hop} of them in one row, not {flat.dtype} {list(flat.shape)}"
            )
        plain = (_any_levels if spec.predictive else _all_levels)(flat.astype(np.int64), spec)
        hops = len(plain)
        placed = np.array([[0.0] * spec.dims + [1.0]] * hops if boxes is None else boxes, np.float32)
        if placed.shape != (hops, spec.dims + 1) or not np.isfinite(placed).all():
            raise ValueError(
                f"boxes must be {spec.dims + 1} finite numbers for each of {hops} hops, not {list(placed.shape)}"
            )
        observed = np.full(hops, (1 << spec.hop) - 1, np.uint64)
        frames = np.arange(hops, dtype=np.int64) * spec.hop
        first = np.arange(hops) == 0
        return cls(spec.label, spec.vocabulary, spec.hop, spec.fps, _narrowed(plain), placed, observed, frames, first)

    @classmethod
    def from_text(
        cls, text: str, tokenizer: HasSpec, boxes: ArrayLike | None = None, start: ArrayLike | None = None
    ) -> Self:
        """Return the tokens of words such as "<x+0> <y+0> <s+0> <m17> <m401>", as from `text`; else as `from_flat`.

        start: [D + 1], the box from which the words for place and size lead on; by default of side 1 around 0. Given
        `boxes` go before those words.
        """
        spec, words = tokenizer.spec, text.split()
        numbers, places = [], []
        for number, word in enumerate(words):
            if match := WORD.fullmatch(word):
                numbers.append(int(match[1]))
            elif PLACE.fullmatch(word):
                places.append(word)
            else:
                raise ValueError(f"word {number + 1} is {word[:40]!r}: a motion token is written <m17>, a place <x+3>")
        if boxes is None and places:
            begin = [0.0] * spec.dims + [1.0] if start is None else np.asarray(start, np.float64).tolist()
            if len(begin) != spec.dims + 1 or not begin[-1] > 0:
                raise ValueError(f"start must be {spec.dims + 1} numbers, the side above 0, not {begin}")
            boxes = boxes_of(read_steps(places, spec.dims), begin)
        return cls.from_flat(np.array(numbers, np.int64), tokenizer, boxes)

    def flat(self) -> NDArray[np.int64]:
        """Return the ids of one vocabulary for all levels, one after the other: int64 [hops * tokens per hop].

        Level l holds the ids l * vocabulary to (l + 1) * vocabulary - 1. The order is hop, level, time, row, column.
        Levels that are not there are left out: a hop begins where an id is of level 0. A hop without any is the one id
        L * vocabulary.
        """
        counts, levels = self.levels, self.ids.shape[1]
        numbers = (self.ids.astype(np.int64) + _offsets(levels, self.vocabulary)).reshape(len(self), levels, -1)
        empty = np.array([levels * self.vocabulary])
        if counts.all():
            return numbers[np.arange(levels) < counts[:, None]].ravel()
        return np.concatenate([row[:n].ravel() if n else empty for row, n in zip(numbers, counts, strict=True)])

    @property
    def levels(self) -> NDArray[np.int64]:
        """How many levels each hop has: int64 [hops]. Raises ValueError where one is missing before another."""
        return levels_of(self.ids)

    def text(self, places: bool = True) -> str:
        """Return the tokens as words for a language model: "<x+0> <y+0> <s+0> <m17> <m401> ...", numbers as in `flat`.

        places: begin each hop with words of where its box is and how large (`stream.codec.places`), as steps from the
        hop before, so that whoever the model makes up walks across the room and not on the spot.
        """
        if not places:
            return " ".join(f"<m{number}>" for number in self.flat())
        words = words_of(steps_of(self.boxes))
        ids = [" ".join(f"<m{number}>" for number in self[row : row + 1].flat()) for row in range(len(self))]
        return " ".join(f"{place} {each}" for place, each in zip(words, ids, strict=True))

    def hops(self, track: int = 0) -> Iterator[Hop]:
        """Yield the hops, as of one person of a stream; `captured_ns` is the time of the last frame on the clock."""
        for row, count in enumerate(self.levels):
            frame, box = int(self.frames[row]), tuple(map(float, self.boxes[row]))
            captured_ns = round((frame + self.hop - 1) / self.fps * 1e9)
            ids = self.ids[row, :count].astype(np.uint16)
            yield Hop(track, frame, captured_ns, ids, box, int(self.observed[row]), bool(self.reset[row]))

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
            _narrowed(self.ids[part]),
            self.boxes[part],
            self.observed[part],
            self.frames[part],
            self.reset[part],
        )


def _offsets(levels: int, vocabulary: int) -> NDArray[np.int64]:
    """Return what is added to the ids of each level: int64 [L, 1, 1, 1]."""
    return (np.arange(levels, dtype=np.int64) * vocabulary)[:, None, None, None]


def _narrowed(ids: NDArray[Any]) -> NDArray[np.uint16] | NDArray[np.int32]:
    """Return ids as uint16; where levels are missing, as int32 with -1."""
    return ids.astype(np.int32) if ids.size and ids.min() < 0 else ids.astype(np.uint16)


def _all_levels(flat: NDArray[np.int64], spec: TokenizerSpec) -> NDArray[np.int64]:
    """Return the ids of hops that have all levels: int64 [hops, L, t, h, w]."""
    grid = flat.reshape(-1, *spec.token_grid)
    plain = grid - _offsets(spec.token_grid[0], spec.vocabulary)
    if wrong := np.argwhere((plain < 0) | (plain >= spec.vocabulary)).tolist():
        hop, level = wrong[0][:2]
        low = level * spec.vocabulary
        raise ValueError(
            f"id {grid[tuple(wrong[0])]} at hop {hop}: level {level} of {spec.name} has the ids {low} to "
            f"{low + spec.vocabulary - 1}"
        )
    return plain


def _any_levels(flat: NDArray[np.int64], spec: TokenizerSpec) -> NDArray[np.int64]:
    """Return the ids of hops that have any first levels: int64 [hops, L, 1, 1, 1], -1 for those that are not there."""
    levels = spec.token_grid[0]
    level, plain = np.divmod(flat, spec.vocabulary)
    empty = flat == levels * spec.vocabulary
    begins = (level == 0) | empty
    follows = np.concatenate([[False], (level[1:] == level[:-1] + 1) & (level[1:] < levels)])
    wrong = np.flatnonzero(~(begins | follows))
    if len(wrong):
        at = int(wrong[0])
        raise ValueError(
            f"id {flat[at]} at place {at}: a hop of {spec.name} is ids of levels 0, 1 and so on, {spec.vocabulary} ids "
            f"each, or {levels * spec.vocabulary} alone"
        )
    grid = np.full((int(begins.sum()), levels), ABSENT, np.int64)
    there = ~empty
    grid[np.cumsum(begins)[there] - 1, level[there]] = plain[there]
    return grid[:, :, None, None, None]
