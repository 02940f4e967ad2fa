"""The account of a track's sequence numbers is exact within its window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.subscribe.sequence import WINDOW, Sequence


def account(seqs: list[int]) -> dict[str, int]:
    """Count what `seqs` are, arriving in this order."""
    counts = {"new": 0, "duplicate": 0, "late": 0, "lost": 0}
    sequence = Sequence()
    for seq in seqs:
        arrival, lost = sequence.take(seq)
        counts[arrival] += 1
        counts["lost"] += lost
    return counts


@pytest.mark.parametrize(
    ("seqs", "new", "duplicate", "late", "lost"),
    [
        ([0, 1, 2], 3, 0, 0, 0),
        ([50, 51], 2, 0, 0, 0),  # joined in the middle: nothing of ours was lost
        ([0, 1, 5, 6], 4, 0, 0, 3),
        ([0, 0, 1, 1, 0], 2, 3, 0, 0),
        ([0, 3, 1, 2], 2, 0, 2, 0),
        ([0, 3, 1, 1], 2, 1, 1, 1),
        ([5, 4, 6], 2, 0, 1, 0),  # before joining: late, but never counted as lost
        ([0, 2**62, 1], 2, 0, 1, 2**62 - 1),  # too far behind to tell: stays lost
        ([0, WINDOW, 1], 2, 0, 1, WINDOW - 2),
    ],
)
def test_account(seqs: list[int], new: int, duplicate: int, late: int, lost: int) -> None:
    assert account(seqs) == {"new": new, "duplicate": duplicate, "late": late, "lost": lost}


@settings(derandomize=True)
@given(st.lists(st.integers(0, WINDOW - 1), min_size=1, max_size=200))
def test_account_equals_that_of_sets(seqs: list[int]) -> None:
    heard: set[int] = set()
    expected = {"new": 0, "duplicate": 0, "late": 0}
    for seq in seqs:
        kind = "duplicate" if seq in heard else "late" if heard and seq < max(heard) else "new"
        expected[kind] += 1
        heard.add(seq)
    missing = set(range(seqs[0], max(heard))) - heard
    assert account(seqs) == expected | {"lost": len(missing)}


def test_joining_says_where_the_count_begins() -> None:
    sequence = Sequence()
    assert not sequence.joined
    sequence.join(3)
    assert sequence.joined
    assert sequence.take(5) == ("new", 2)
    assert sequence.take(3) == ("late", -1)
    assert sequence.take(2) == ("late", 0)


def test_closing_counts_what_is_missing_at_the_end() -> None:
    sequence = Sequence()
    sequence.take(4)
    assert sequence.close(4) == 0
    assert sequence.close(7) == 3
    assert sequence.close(6) == 0
    assert sequence.take(6) == ("late", -1)
    assert sequence.take(8) == ("new", 0)


def test_memory_is_bounded() -> None:
    sequence = Sequence()
    for seq in np.random.default_rng(0).integers(0, 10**6, 3000).tolist():
        sequence.take(seq)
    assert sequence.heard.bit_length() <= WINDOW
