"""Images that show which one they are."""

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def numbered(number: int, width: int = 256, height: int = 64) -> Image:
    """An image that shows a number in eight blocks, to be read after compression."""
    bits = [(number >> bit & 1) * 255 for bit in range(8)]
    row = np.repeat(np.array(bits, np.uint8), width // 8)
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def number_in(image: Image) -> int:
    row = image[image.shape[0] // 2, :, 1].reshape(8, -1).mean(axis=1)
    return sum(1 << bit for bit in range(8) if row[bit] > 127)
