"""What a source gives: images or poses, each with the time of its capture, paced as the user asks."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from stream.motion.skeleton import Pose

LOOP_GAP = 1.0
"""Seconds between the last frame of a round and the first of the next: the jump back is no motion, and what follows
takes people who were away this long for a new beginning."""

Rate = Literal["realtime", "max"]
Unit = Literal["px", "cm"]

Wanted = Callable[[float], bool]
"""Whether the image of a time, s, is to be given at all; a source asks once about each, in order."""


@dataclass(frozen=True, slots=True)
class Frame:
    """An image. `time`: seconds on the source's own clock, strictly rising; `captured_ns`: monotonic clock."""

    image: NDArray[np.uint8]  # [H, W, 3], BGR
    time: float
    captured_ns: int


@dataclass(frozen=True, slots=True)
class PoseFrame:
    """All people of one instant, by track id. `time` and `captured_ns` as in `Frame`."""

    people: dict[int, Pose]
    time: float
    captured_ns: int
    image: NDArray[np.uint8] | None = None  # what they were seen in, [H, W, 3], BGR, where there is one


class ImageSource(Protocol):
    """Yields images until it ends or is stopped; counts what it had to leave out."""

    label: str  # for the start line, without secrets
    live: bool  # as in `PoseSource`

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames in the order of their times."""

    @property
    def counts(self) -> dict[str, int]:
        """What was left out so far, by cause; empty when nothing was."""

    def close(self) -> None:
        """Release the device or file. Safe to call twice and from another thread."""


class PoseSource(Protocol):
    """Yields poses until it ends or is stopped; counts what it had to leave out."""

    unit: Unit
    label: str  # for the start line, without secrets
    live: bool  # it goes on at its own pace: what cannot be taken in time is dropped

    def __iter__(self) -> Iterator[PoseFrame]:
        """Yield frames of poses in the order of their times."""

    @property
    def counts(self) -> dict[str, int]:
        """What was left out so far, by cause, such as {"frames dropped": 3}; empty when nothing was."""

    def close(self) -> None:
        """Release the device or file. Safe to call twice and from another thread."""


class Pacer:
    """Releases frames at their times (`realtime`) or at once (`max`); ends early when `stop` is set."""

    def __init__(self, rate: Rate, stop: threading.Event) -> None:
        self._realtime = rate == "realtime"
        self._stop = stop
        self._origin: float | None = None

    def wait(self, at: float) -> int | None:
        """Wait until source time `at` (seconds); return the capture time in monotonic ns, None when stopped.

        In real time the capture time is the moment the frame was due, so a reader that lags shows as latency.
        """
        now = time.monotonic()
        if self._origin is None:
            self._origin = now - at
        if self._stop.is_set():
            return None
        if not self._realtime:
            return time.monotonic_ns()
        due = self._origin + at
        if due > now and self._stop.wait(due - now):
            return None
        return int(due * 1e9)
