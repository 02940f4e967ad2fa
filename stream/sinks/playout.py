"""Lays the frames of hops out in time again: a hop comes at once, a body moves frame by frame."""

import heapq
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

AHEAD = 0.5
"""Seconds that frames may wait at most; what comes faster than it can be shown is shown at once."""

TRACKS = 1024
"""People whose last frame is remembered, so that the next hop goes on where it ended."""


class Playout:
    """Calls functions in a thread of its own, evenly spaced within each track.

    The first frame of a hop is due when the hop comes, or one frame after the last of the hop before it: a body lags
    behind by the time of a hop, and never stutters.
    """

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._next: OrderedDict[object, float] = OrderedDict()
        self._count = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="playout", daemon=True)
        self._thread.start()

    def add(self, track: object, fps: float, frames: list[Callable[[], None]]) -> None:
        """Play the frames of one track's next hop."""
        now = time.monotonic()
        with self._changed:
            due = max(now, self._next.pop(track, now))
            if due - now > AHEAD:
                due = now
            for frame in frames:
                heapq.heappush(self._due, (due, self._count, frame))
                self._count += 1
                due += 1 / fps
            self._next[track] = due
            if len(self._next) > TRACKS:
                self._next.popitem(last=False)
            self._changed.notify()

    def close(self) -> None:
        """Play what is left, without waiting, and end. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closing and (not self._due or self._due[0][0] > time.monotonic()):
                    self._changed.wait(self._due[0][0] - time.monotonic() if self._due else None)
                if not self._due:
                    return  # closing
                _, _, frame = heapq.heappop(self._due)
            frame()
