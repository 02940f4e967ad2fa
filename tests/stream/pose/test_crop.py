"""The crop that follows a person, and the squares in which newcomers are looked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.pose.crop import ROOM, Crop, views

BODY = np.array([[100, 50], [140, 250]], np.float32)


@given(
    x=st.floats(-100, 100),
    y=st.floats(-100, 100),
    side=st.floats(100, 400),
    u=st.floats(0.1, 0.9),
    v=st.floats(0.1, 0.9),
)
def test_what_is_seen_in_the_crop_is_placed_where_it_is_in_the_image(
    x: float, y: float, side: float, u: float, v: float
) -> None:
    crop = Crop(x, y, side)
    dot = crop.place(np.array([[u, v]], np.float32))[0]
    rows, columns = np.mgrid[:300, :300] + 0.5
    image = np.exp(-((columns - dot[0]) ** 2 + (rows - dot[1]) ** 2) / (2 * 10**2)) * 255
    cut = crop.cut(np.repeat(image[..., None], 3, axis=2).astype(np.uint8), 128)[..., 0].astype(float)
    if not (30 < dot[0] < 270 and 30 < dot[1] < 270):
        return  # the dot is cut by an edge
    rows, columns = np.mgrid[:128, :128] + 0.5
    middle = np.array([(columns * cut).sum(), (rows * cut).sum()]) / cut.sum() / 128
    half = 25 / side  # how much of the dot may lie beyond the crop without moving its middle
    if half < u < 1 - half and half < v < 1 - half:
        np.testing.assert_allclose(middle, (u, v), atol=1.0 / side)


def test_is_rgb_and_black_beyond_the_image_and_beside_the_person() -> None:
    image = np.full((100, 100, 3), (10, 20, 30), np.uint8)
    cut = Crop(-100, -100, 200).cut(image, 200)
    assert (cut[:99] == 0).all()
    assert (cut[:, :99] == 0).all()
    assert (cut[101:, 101:] == (30, 20, 10)).all()
    masked = Crop(0, 0, 100).cut(image, 50, only=(20, 40, 60, 120))
    assert (masked[20:, 10:30] == (30, 20, 10)).all()
    assert masked.astype(int).sum() == 30 * 20 * 60


def test_follows_into_place() -> None:
    goal = Crop.around(BODY)
    assert goal == Crop(120 - 100 * ROOM, 150 - 100 * ROOM, 200 * ROOM)
    crop = Crop(goal.x - 64, goal.y + 64, goal.side * 2)
    for _ in range(20):
        nearer = crop.towards(BODY)
        assert abs(nearer.x - goal.x) < abs(crop.x - goal.x)
        crop = nearer
    assert (crop.x, crop.y, crop.side) == pytest.approx((goal.x, goal.y, goal.side), abs=1e-3)


@given(width=st.integers(64, 4000), height=st.integers(64, 4000))
def test_views_are_the_whole_and_overlapping_tiles(width: int, height: int) -> None:
    whole, *tiles = views(np.broadcast_to(np.uint8(0), (height, width, 3)))
    assert whole.side == max(width, height)
    assert (whole.x + whole.side / 2, whole.y + whole.side / 2) == (width / 2, height / 2)
    if width == height:
        assert tiles == []
        return
    short = min(width, height)
    starts = [tile.x if width > height else tile.y for tile in tiles]
    assert all(tile.side == short for tile in tiles)
    assert starts[0] == 0
    assert starts[-1] == pytest.approx(max(width, height) - short)
    assert max(np.diff(starts)) <= short / 2 + 1e-6
