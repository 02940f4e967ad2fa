"""Video: files, read completely and in order, and addresses, which are live."""

import math
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.errors import SourceError
from stream.sources.base import LOOP_GAP, Frame, Pacer, Rate
from stream.sources.capture import FILE, ImageSource, is_address, open_address, redact
from stream.sources.live import LiveSource

TOLERANCE = 2
"""Frames that a container may announce and not hold: writers count a last, unfinished one."""

_DEPTH = 4  # frames read ahead; each is 6 MB at 1920 x 1080
_POLL = 0.1  # seconds: how soon a wait notices that the source is stopped
_USUAL_FPS = 30.0  # where a container does not say
_TEXT = cv2.VideoWriter.fourcc(*"ansi")  # FFmpeg takes any .txt for a film of its letters

_Shot = tuple[NDArray[np.uint8], float]


def open_video(ref: str, rate: Rate, stop: threading.Event, loop: bool = False) -> ImageSource:
    """Give the images of a file, or of an address (rtsp://, http:// and so on), which is live.

    rate and loop are for files alone. Raises SourceError when there is no such file.
    """
    return AddressSource(ref, stop) if is_address(ref) else VideoSource(ref.removeprefix(FILE), rate, stop, loop)


class AddressSource(LiveSource):
    """The images of a live stream. Raises SourceError, on iterating, when it cannot be reached at first."""

    def __init__(self, address: str, stop: threading.Event) -> None:
        shown = redact(address)
        super().__init__(
            lambda: open_address(address),
            label=f"video {shown}",
            unreachable=f"{shown} gives no image: check address, user and password, and that the sender runs",
            stop=stop,
        )


class VideoSource:
    """All frames of a video file, `time` being their presentation time, counted from the first.

    rate: "realtime" gives each at its time, "max" at once. loop: start over at the end, `LOOP_GAP` later.

    Raises SourceError: when there is no such file; on iterating, when it holds no video or, after the frames
    that can be read, when it breaks off before its announced end.
    """

    def __init__(self, path: str | Path, rate: Rate, stop: threading.Event, loop: bool = False) -> None:
        self._path = Path(path)
        if not self._path.is_file():
            what = "is a folder" if self._path.is_dir() else "does not exist"
            raise SourceError(f"{path} {what}: give the path of a video file, or an address such as rtsp://...")
        self.label = f"video {self._path.name}"
        self._loop = loop
        self._pacer = Pacer(rate, stop)
        self._stop = stop
        self._closed = threading.Event()

    @property
    def counts(self) -> dict[str, int]:
        """Always empty: nothing is left out."""
        return {}

    def close(self) -> None:
        """End the iteration within a moment, even while the file hangs."""
        self._closed.set()

    def __iter__(self) -> Iterator[Frame]:
        """Yield every frame, read ahead in a thread."""
        ahead = _Ahead(self._rounds(), self._over)
        try:
            while (shot := ahead.next()) is not None:
                image, time = shot
                captured_ns = self._pacer.wait(time)
                if captured_ns is None or self._over():
                    return
                yield Frame(image, time, captured_ns)
        finally:
            ahead.abandon()

    def _over(self) -> bool:
        return self._stop.is_set() or self._closed.is_set()

    def _rounds(self) -> Generator[_Shot, None, None]:
        start = 0.0
        while True:
            time = start
            for image, time in self._round(start):
                yield image, time
            if not self._loop:
                return
            start = time + LOOP_GAP

    def _round(self, start: float) -> Iterator[_Shot]:
        capture = cv2.VideoCapture(str(self._path))
        try:
            if capture.get(cv2.CAP_PROP_FOURCC) == _TEXT:
                raise SourceError(f"{self._path} holds text, not video")
            fps = capture.get(cv2.CAP_PROP_FPS)
            clock = _Timeline(start, fps if math.isfinite(fps) and fps > 0 else _USUAL_FPS)
            frames = 0
            while (shot := capture.read())[0]:
                yield shot[1], clock.at(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
                frames += 1
            self._check_end(frames, clock, capture.get(cv2.CAP_PROP_FRAME_COUNT))
        finally:
            capture.release()

    def _check_end(self, frames: int, clock: "_Timeline", announced: float) -> None:
        if not frames:
            raise SourceError(f"{self._path} holds no video that can be read: is it whole, and a video?")
        # Of a container that does not count its frames OpenCV guesses the number from the duration, too high
        # where the frame rate varies: only a video that also lacks time has broken off.
        if max(frames, clock.frames) < announced - TOLERANCE:
            raise SourceError(
                f"{self._path} breaks off after frame {frames} of {announced:.0f}: the file is cut short or "
                "damaged; copy it again or re-encode what is left"
            )


class _Timeline:
    """Source time of a round: the presentation times while they rise, the announced rate where they do not."""

    def __init__(self, start: float, fps: float) -> None:
        self._start = start
        self._fps = fps
        self._first: float | None = None
        self._since = 0.0

    def at(self, stamp: float) -> float:
        """Seconds at the next frame, whose presentation time is `stamp`. Rises with every call."""
        if self._first is None:
            self._first = stamp
        elif stamp - self._first > self._since:
            self._since = stamp - self._first
        else:
            self._since += 1 / self._fps
        return self._start + self._since

    @property
    def frames(self) -> float:
        """Frames that fill the time so far at the announced rate."""
        return self._since * self._fps + 1


class _Ahead:
    """Reads an iterator in a thread, a few items ahead."""

    def __init__(self, shots: Generator[_Shot, None, None], over: Callable[[], bool]) -> None:
        self._shots = shots
        self._over = over
        self._abandoned = False
        self._queue: queue.Queue[_Shot | Exception | None] = queue.Queue(_DEPTH)
        self._thread = threading.Thread(target=self._fill, daemon=True, name="video")
        self._thread.start()

    def next(self) -> _Shot | None:
        """Wait for the next item; None at the end or when `over` says so. Raises what the iterator raised."""
        while not self._over():
            try:
                item = self._queue.get(timeout=_POLL)
            except queue.Empty:
                continue
            if isinstance(item, Exception):
                raise item
            return item
        return None

    def abandon(self) -> None:
        """Take no more from it. Waits a moment so that a file that does not hang is closed on return."""
        self._abandoned = True
        self._thread.join(timeout=0.3)

    def _fill(self) -> None:
        with closing(self._shots):
            try:
                for shot in self._shots:
                    if not self._put(shot):
                        return
                self._put(None)
            except Exception as error:  # for the thread that iterates to raise
                self._put(error)

    def _put(self, item: _Shot | Exception | None) -> bool:
        while not self._abandoned and not self._over():
            try:
                self._queue.put(item, timeout=_POLL)
            except queue.Full:
                continue
            return True
        return False
