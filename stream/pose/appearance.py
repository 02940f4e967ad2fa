"""How a person looks: the colours of the torso, which tell people apart where place cannot."""

import cv2
import numpy as np

from stream.motion.skeleton import SEEN, Array
from stream.pose.crop import Image

TORSO = [5, 6, 12, 11]  # shoulders and hips, around

_ACROSS, _DOWN = np.meshgrid(np.linspace(0.15, 0.85, 12), np.linspace(0.1, 0.9, 16))
_SHARES = np.stack([(1 - _DOWN) * (1 - _ACROSS), (1 - _DOWN) * _ACROSS, _DOWN * _ACROSS, _DOWN * (1 - _ACROSS)], -1)
"""Where the torso is looked at: shares [16, 12, 4] of its corners."""

QUANTILES = 16

LIGHTNESS = 0.5
"""Weight of lightness against colour: shadows and exposure change it first."""

_WEIGHTS = np.array([LIGHTNESS, 1.0, 1.0], np.float32)


def appearance(image: Image, joints: Array, confidence: Array) -> Array | None:
    """Return the torso's colours, float32 [3, 16]: quantiles of CIE Lab, L 0..100; None where the torso is not seen.

    image: BGR. joints: [17, 2] px. Quantiles and not a histogram: a little more light moves them a little.
    """
    if (confidence[TORSO] < SEEN).any():
        return None
    places = (_SHARES @ joints[TORSO]).astype(int)
    height, width = image.shape[:2]
    inside = ((places >= 0) & (places < (width, height))).all(axis=-1)
    if inside.mean() < 0.5:
        return None
    colours = image[places[inside][:, 1], places[inside][:, 0]].astype(np.float32) / 255
    lab = cv2.cvtColor(colours[:, None], cv2.COLOR_BGR2LAB)[:, 0]
    quantiles: Array = np.quantile(lab, np.linspace(0.05, 0.95, QUANTILES), axis=0).T * _WEIGHTS[:, None]
    return quantiles.astype(np.float32)


def unlike(one: Array, other: Array) -> float:
    """How different two appearances are: the mean distance of their quantiles, summed over L, a and b."""
    return float(np.abs(one - other).mean(axis=1).sum())
