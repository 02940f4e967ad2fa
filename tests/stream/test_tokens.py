"""Tokens as one row of numbers and as words, there and back."""

import dataclasses

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.spec import TokenizerSpec, load_tokenizer
from stream import Tokens
from stream.codec.places import OCTAVE, STEP


@dataclasses.dataclass
class Kind:
    spec: TokenizerSpec


KIND = Kind(load_tokenizer("heatmap2d-f8").spec)
RESIDUAL = Kind(msgspec.structs.replace(KIND.spec, vocabulary=64, token_grid=(3, 1, 8, 8)))


@given(hops=st.integers(1, 4), levels=st.sampled_from([KIND, RESIDUAL]), seed=st.integers(0, 2**32 - 1))
def test_text_and_rows_come_back_exactly(hops: int, levels: Kind, seed: int) -> None:
    rng = np.random.default_rng(seed)
    spec = levels.spec
    ids = rng.integers(0, spec.vocabulary, (hops, *spec.token_grid))
    flat = (ids + np.arange(spec.token_grid[0])[:, None, None, None] * spec.vocabulary).ravel()
    boxes = rng.normal(0, 100, (hops, 3)).astype(np.float32)
    boxes[:, -1] = np.abs(boxes[:, -1]) + 1
    tokens = Tokens.from_flat(flat, levels, boxes)
    np.testing.assert_array_equal(tokens.ids, ids)
    assert tokens.ids.dtype == np.uint16
    np.testing.assert_array_equal(tokens.flat(), flat)
    again = Tokens.from_text(tokens.text(), levels, boxes)
    for field in dataclasses.fields(Tokens):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(tokens, field.name))


def test_words_of_each_level_are_their_own() -> None:
    words = Tokens.from_flat(np.repeat([5, 64 + 5, 128 + 5], 64), RESIDUAL).text(places=False).split()
    assert words == ["<m5>"] * 64 + ["<m69>"] * 64 + ["<m133>"] * 64


def test_parts_are_tokens_too() -> None:
    tokens = Tokens.from_flat(np.arange(4 * 64), KIND)
    part = tokens[1:3]
    assert len(part) == 2
    np.testing.assert_array_equal(part.flat(), np.arange(64, 192))
    assert part.frames.tolist() == [8, 16]
    with pytest.raises(TypeError, match="tokens\\[3:4\\]"):
        tokens[3]  # type: ignore[index]


def test_what_is_not_whole_is_named() -> None:
    with pytest.raises(ValueError, match=r"64 ids a hop: .* not int64 \[63\]"):
        Tokens.from_flat(np.arange(63), KIND)
    with pytest.raises(ValueError, match=r"not int64 \[0\]"):
        Tokens.from_text("", KIND)
    with pytest.raises(ValueError, match=r"word 2 is 'two': a motion token is written <m17>, a place <x\+3>"):
        Tokens.from_text("<m1> two <m3>", KIND)
    with pytest.raises(ValueError, match="id 512 at hop 1: level 0 of heatmap2d-f8 has the ids 0 to 511"):
        Tokens.from_flat([0] * 64 + [512] * 64, KIND)
    with pytest.raises(ValueError, match=r"id 1 at hop 0: level 1 .* 64 to 127"):
        Tokens.from_flat([1] * 192, RESIDUAL)
    with pytest.raises(ValueError, match=r"boxes must be 3 finite numbers for each of 1 hops, not \[2, 3\]"):
        Tokens.from_flat([1] * 64, KIND, np.ones((2, 3)))
    with pytest.raises(ValueError, match="no hops"):
        Tokens.from_hops([], KIND)


@given(seed=st.integers(0, 2**32 - 1), hops=st.integers(1, 60))
def test_places_come_back_within_half_a_step(seed: int, hops: int) -> None:
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.uniform(-60, 60, (hops, 2)), axis=0)
    boxes = np.concatenate([walk, 180 * 2 ** rng.uniform(-0.3, 0.3, (hops, 1))], axis=1).astype(np.float32)
    tokens = Tokens.from_flat(np.zeros(hops * 64, int), KIND, boxes)
    assert tokens.text().startswith("<x+0> <y+0> <s+0> <m0>")
    again = Tokens.from_text(tokens.text(), KIND, start=boxes[0]).boxes
    assert np.abs((again[:, :2] - boxes[:, :2]) / again[:, 2:]).max() < 0.51 * STEP * 2**0.6
    assert np.abs(np.log2(again[:, 2] / boxes[:, 2])).max() < 0.51 * OCTAVE
    # Nobody says where it began: the same path from the origin, in sides of the first box.
    free = Tokens.from_text(tokens.text(), KIND).boxes
    np.testing.assert_allclose(free[:, :2] * boxes[0, 2] + boxes[0, :2], again[:, :2], rtol=1e-4, atol=1e-2)


def test_a_jump_is_caught_up_with() -> None:
    boxes = np.array([[0, 0, 100]] + [[330, 0, 100]] * 5, np.float32)
    tokens = Tokens.from_flat(np.zeros(6 * 64, int), KIND, boxes)
    again = Tokens.from_text(tokens.text(), KIND, start=boxes[0]).boxes
    np.testing.assert_allclose(again[:, 0], [0, 100, 200, 300, 330, 330], atol=1)


def test_words_for_places_must_be_whole() -> None:
    ids = " <m0>" * 64
    with pytest.raises(ValueError, match=r"'<y\+0>': a word such as <x\+3>, of -64 to \+64, is due for hop 0"):
        Tokens.from_text("<y+0> <x+0> <s+0>" + ids, KIND)
    with pytest.raises(ValueError, match=r"'<x\+99>': a word such as"):
        Tokens.from_text("<x+99> <y+0> <s+0>" + ids, KIND)
    with pytest.raises(ValueError, match="each hop needs words for x, y, s: the last one has 2"):
        Tokens.from_text("<x+0> <y+0>" + ids, KIND)
    with pytest.raises(ValueError, match="boxes must be 3 finite numbers for each of 2 hops"):
        Tokens.from_text("<x+0> <y+0> <s+0>" + ids + ids, KIND)
    with pytest.raises(ValueError, match="start must be 3 numbers"):
        Tokens.from_text("<x+0> <y+0> <s+0>" + ids, KIND, start=[0, 0])


PREDICTIVE = Kind(msgspec.structs.replace(KIND.spec, kind="predictive", vocabulary=16, token_grid=(3, 1, 1, 1)))


@given(hops=st.lists(st.lists(st.integers(0, 15), max_size=3), min_size=1, max_size=8))
def test_levels_left_out_come_back_exactly(hops: list[list[int]]) -> None:
    words = [n * 16 + i for hop in hops for n, i in enumerate(hop)] if all(hops) else None
    flat = [each for hop in hops for each in ([n * 16 + i for n, i in enumerate(hop)] or [48])]
    tokens = Tokens.from_flat(flat, PREDICTIVE)
    assert tokens.levels.tolist() == [len(hop) for hop in hops]
    assert tokens.ids.dtype == (np.uint16 if min(map(len, hops)) == 3 else np.int32)
    assert tokens.flat().tolist() == flat
    assert words is None or words == flat
    again = Tokens.from_text(tokens.text(), PREDICTIVE)
    np.testing.assert_array_equal(again.ids, tokens.ids)
    gathered = Tokens.from_hops(list(tokens.hops()), PREDICTIVE)
    np.testing.assert_array_equal(gathered.ids, tokens.ids)


@pytest.mark.parametrize("flat", [[16], [0, 32], [0, 16, 17], [48, 16], [49], [-1], [0, 16, 32, 48, 64]])
def test_levels_out_of_order_are_named(flat: list[int]) -> None:
    with pytest.raises(ValueError, match=r"id -?\d+ at place \d: a hop of .* levels 0, 1 and so on, 16 .* 48 alone"):
        Tokens.from_flat(flat, PREDICTIVE)
