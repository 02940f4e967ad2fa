"""What live images are read from: cameras through OpenCV, addresses through FFmpeg, without chatter or passwords."""

import os
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

# FFmpeg's own messages hold whole addresses, passwords included. OpenCV's reads this at the first capture.
os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from stream.errors import SourceError
from stream.sources.film import as_shown, choose_stream, decode_past_damage, open_film

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

GIVE_UP = 100
"""Pictures in a row that cannot be decoded after which a connection counts as lost."""


class Capture(Protocol):
    """A connection that gives images one after the other, as `cv2.VideoCapture` does. Every call may hang."""

    def grab(self) -> bool:
        """Wait for the next image; False when none will come."""

    def retrieve(self) -> tuple[bool, NDArray[np.uint8]]:
        """Return whether the image could be decoded, and the image: uint8 [H, W, 3], BGR."""

    def release(self) -> None:
        """Let the connection go."""


class AddressCapture:
    """The images of a live stream. Damaged ones are left out and counted as "frames damaged" in `counts`.

    Raises SourceError where nothing can be opened there.
    """

    def __init__(self, address: str, counts: Counter[str]) -> None:
        self._counts = counts
        _, self._container = open_film(address)
        stream = choose_stream(self._container)
        if stream is None:
            self._container.close()
            raise SourceError("no video there")
        self._stream = stream
        stream.thread_type = "SLICE"  # threads of frames would hold back one frame each
        self._frames = self._decoded()
        self._frame: av.VideoFrame | None = None

    def grab(self) -> bool:
        """See `Capture`."""
        self._frame = next(self._frames, None)
        return self._frame is not None

    def retrieve(self) -> tuple[bool, NDArray[np.uint8]]:
        """See `Capture`."""
        assert self._frame is not None  # grab has said so
        return True, as_shown(self._frame, self._stream)

    def release(self) -> None:
        """See `Capture`."""
        self._container.close()

    def _decoded(self) -> Iterator[av.VideoFrame]:
        try:
            yield from decode_past_damage(self._container.demux(self._stream), self._damage, GIVE_UP)
        except av.error.FFmpegError:  # the link broke off, or nothing came for `READ_TIMEOUT`
            return

    def _damage(self) -> None:
        self._counts["frames damaged"] += 1
