"""The ring against a plain list."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.codec.ring import Ring


@given(window=st.integers(1, 20), pushes=st.integers(0, 70))
def test_the_window_is_the_last_frames_zeros_before_the_first(window: int, pushes: int) -> None:
    ring = Ring(window, (2, 3))
    frames = [np.full((2, 3), n + 1, np.float32) for n in range(pushes)]
    for frame in frames:
        ring.push(frame)
    expected = ([np.zeros((2, 3), np.float32)] * window + frames)[-window:]
    np.testing.assert_array_equal(ring.window(), np.stack(expected))


def test_the_window_is_handed_out_without_a_copy() -> None:
    ring = Ring(8, (17, 3))
    for n in range(11):
        ring.push(np.full((17, 3), n, np.float32))
        view = ring.window()
        assert view.flags.c_contiguous
        assert np.shares_memory(view, ring.window())
        assert view.base is not None
