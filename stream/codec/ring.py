"""A preallocated ring of the last frames, whose window is always one piece of memory."""

import numpy as np

from stream.motion.skeleton import Array


class Ring:
    """The last `window` frames of one person, oldest first; frames never pushed read as zeros.

    Every frame is written twice, `window` rows apart, so the newest window is always a plain slice: nothing is copied
    to hand it out.
    """

    def __init__(self, window: int, shape: tuple[int, ...]) -> None:
        self._rows = np.zeros((2 * window, *shape), np.float32)
        self._size = window
        self._next = 0

    def push(self, frame: Array) -> None:
        """Append one frame of the given shape."""
        self._rows[self._next] = frame
        self._rows[self._next + self._size] = frame
        self._next = (self._next + 1) % self._size

    def window(self) -> Array:
        """Return the newest window [window, *shape], a view that the next push changes."""
        return self._rows[self._next : self._next + self._size]
