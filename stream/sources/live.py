"""Live images: a thread reads them, the newest wins, a connection that breaks off is made anew."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.errors import SourceError
from stream.sources.address import OPEN_TIMEOUT, READ_TIMEOUT, shown
from stream.sources.base import Frame, Wanted
from stream.sources.capture import AddressCapture, Capture

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 0.5
"""Seconds between attempts to connect anew; each pause is twice the one before. Short: however long a camera was
away, tokens are to flow again within 2 s of its return."""

_POLL = 0.1  # seconds: how soon a wait notices that the source is stopped

_log = logging.getLogger(__name__)


class LiveSource:
    """Frames of a camera or an address; `time` and `captured_ns` are the moment of arrival.

    open_capture: called in a thread of its own for each connection; it and reading may hang without harm.
    unreachable: what to say when the first connection gives no frame, raised as SourceError. Once there was a
    frame, no failure ends the source: it connects anew with growing pauses until it is stopped or closed. wanted: of
    the newest images; by default all are.
    """

    live = True

    def __init__(
        self,
        open_capture: Callable[[], Capture],
        label: str,
        unreachable: str,
        stop: threading.Event,
        wanted: Wanted | None = None,
    ) -> None:
        self.label = label
        self._open_capture = open_capture
        self._unreachable = unreachable
        self._stop = stop
        self._wanted = wanted
        self._closed = threading.Event()
        self._counts: Counter[str] = Counter()

    @property
    def counts(self) -> dict[str, int]:
        """{"frames dropped": came too fast, "frames damaged": not decodable, "reconnects": links made anew}."""
        return dict(self._counts)

    def close(self) -> None:
        """End the iteration within a moment, even while the device hangs."""
        self._closed.set()

    def __iter__(self) -> Iterator[Frame]:
        """Yield the newest frame each time, whatever came in between being dropped and counted."""
        pause, told, arrived_ns = FIRST_PAUSE, 0.0, 0
        while not self._over():
            connection = _Connection(self._open_capture, self._counts)
            try:
                shot = connection.newest(OPEN_TIMEOUT, self._over)
                if shot is not None and arrived_ns:
                    self._counts["reconnects"] += 1
                    _log.warning("%s: connected again", self.label)
                while shot is not None:
                    image, at = shot
                    arrived_ns = max(at, arrived_ns + 1)
                    pause, told = FIRST_PAUSE, 0.0
                    if self._wanted is None or self._wanted(arrived_ns / 1e9):
                        yield Frame(image, arrived_ns / 1e9, arrived_ns)
                    shot = connection.newest(READ_TIMEOUT, self._over)
            finally:
                connection.abandon()
            if self._over():
                return
            if not arrived_ns:
                raise SourceError(self._unreachable)
            if pause != told:  # not for hours twice a second
                _log.warning("%s: lost; connecting again in %g s", self.label, pause)
            told = pause
            self._rest(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _rest(self, pause: float) -> None:
        until = time.monotonic() + pause
        while not self._over() and (left := until - time.monotonic()) > 0:
            self._stop.wait(min(left, _POLL))

    def _over(self) -> bool:
        return self._stop.is_set() or self._closed.is_set()


class AddressSource(LiveSource):
    """The images of a live stream. Raises SourceError, on iterating, when it cannot be reached at first."""

    def __init__(self, address: str, stop: threading.Event, wanted: Wanted | None = None) -> None:
        super().__init__(
            lambda: AddressCapture(address, self._counts),
            label=f"video {shown(address)}",
            unreachable=f"{shown(address)} gives no image: check address, user and password, and that the sender runs",
            stop=stop,
            wanted=wanted,
        )


class _Connection:
    """A capture in a thread that may be abandoned: it lets the capture go once the call it hangs in returns."""

    def __init__(self, open_capture: Callable[[], Capture], counts: Counter[str]) -> None:
        self._counts = counts
        self._shot: tuple[NDArray[np.uint8], int] | None = None
        self._ended = False
        self._abandoned = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(open_capture,), daemon=True, name="capture")
        self._thread.start()

    def newest(self, patience: float, over: Callable[[], bool]) -> tuple[NDArray[np.uint8], int] | None:
        """Wait for an image not given before, with the ns of its arrival; None when none will come.

        That is: the connection ended, `patience` seconds passed or `over` says so.
        """
        until = time.monotonic() + patience
        with self._changed:
            while self._shot is None and not self._ended and not over() and time.monotonic() < until:
                self._changed.wait(_POLL)
            shot, self._shot = self._shot, None
            return None if over() else shot

    def abandon(self) -> None:
        """Take no more from it. Waits a moment so that a device that does not hang is free on return."""
        with self._changed:
            self._abandoned = True
        self._thread.join(timeout=0.3)

    def _read(self, open_capture: Callable[[], Capture]) -> None:
        try:
            capture = open_capture()
            while not self._abandoned and capture.grab():
                at = time.monotonic_ns()
                decoded, image = capture.retrieve()
                if decoded:
                    self._put(image, at)
            capture.release()
        except (cv2.error, SourceError):
            _log.debug("the capture failed", exc_info=True)
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _put(self, image: NDArray[np.uint8], at: int) -> None:
        with self._changed:
            if self._shot is not None:
                self._counts["frames dropped"] += 1
            self._shot = (image, at)
            self._changed.notify()
