"""Pictures of bodies and tokens, for people."""

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.motion.skeleton import BONES, SEEN, Array

Image = NDArray[np.uint8]

INK = (40, 40, 40)
PAPER = 255
GUTTER = 8
LEFT, RIGHT, MIDDLE = (200, 120, 20), (30, 90, 220), (110, 110, 110)  # BGR
"""Colours of the person's own left, right and middle."""

SHADOW = (214, 214, 214)
"""Colour of a body behind another."""


def skeleton(joints: Array, confidence: Array, centre: Array, side: float, size: int) -> Image:
    """Draw one body, joints [17, 2 or 3] seen from the front, in the box of that centre and side: [size, size, 3]."""
    picture = np.full((size, size, 3), PAPER, np.uint8)
    places = _places(joints, centre, side, size)
    _draw_bones(picture, places, confidence >= SEEN, max(2, size // 90))
    for place, seen in zip(places, confidence >= SEEN, strict=True):
        if seen:
            cv2.circle(picture, _pixel(place), max(2, size // 80), INK, -1, cv2.LINE_AA)
    return picture


def overlay(truth: Array, joints: Array, confidence: Array, centre: Array, side: float, size: int) -> Image:
    """Draw what came out over what went in, a broad pale body: joints as in `skeleton`, [size, size, 3]."""
    picture = np.full((size, size, 3), PAPER, np.uint8)
    everything = np.ones(len(truth), bool)
    _draw_bones(picture, _places(truth, centre, side, size), everything, max(6, size // 22), SHADOW)
    _draw_bones(picture, _places(joints, centre, side, size), confidence >= SEEN, max(2, size // 110))
    return picture


def token_grid(ids: NDArray[np.uint16], vocabulary: int, size: int) -> Image:
    """Draw the ids [h, w] of one instant as coloured squares with their numbers: [size, size, 3]."""
    height, width = ids.shape
    size -= GUTTER
    shades = (ids.astype(int) * 255 // max(1, vocabulary - 1)).astype(np.uint8)
    colours = cv2.applyColorMap(shades, cv2.COLORMAP_VIRIDIS)
    picture = np.asarray(cv2.resize(colours, (size, size), interpolation=cv2.INTER_NEAREST), np.uint8)
    for (row, column), token in np.ndenumerate(ids):
        at = (column * size // width + 3, (row + 1) * size // height - size // height // 3)
        ink = (0, 0, 0) if shades[row, column] > 140 else (255, 255, 255)
        cv2.putText(picture, str(token), at, cv2.FONT_HERSHEY_SIMPLEX, size / 900, ink, 1, cv2.LINE_AA)
    return np.pad(picture, ((0, GUTTER), (0, GUTTER), (0, 0)), constant_values=PAPER)


def label(width: int, text: str, height: int = 28) -> Image:
    """Draw a line of text: [height, width, 3]."""
    picture = np.full((height, width, 3), PAPER, np.uint8)
    cv2.putText(picture, text, (6, height - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA)
    return picture


def _places(joints: Array, centre: Array, side: float, size: int) -> Array:
    """Return where joints are in the picture of a box: [17, 2], pixels."""
    return ((joints[:, :2] - centre[:2]) / side + 0.5) * size


def _draw_bones(
    picture: Image, places: Array, seen: NDArray[np.bool_], width: int, colour: tuple[int, int, int] | None = None
) -> None:
    for a, b in BONES:
        if seen[a] and seen[b]:
            cv2.line(picture, _pixel(places[a]), _pixel(places[b]), colour or _colour(a, b), width, cv2.LINE_AA)


def _pixel(place: Array) -> tuple[int, int]:
    x, y = np.clip(place, -1e4, 1e4)
    return round(float(x)), round(float(y))


def _colour(a: int, b: int) -> tuple[int, int, int]:
    # COCO's odd joints are left, even ones right; the nose and pairs of both are the middle.
    if a == 0 or b == 0 or a % 2 != b % 2:
        return MIDDLE
    return LEFT if a % 2 else RIGHT
