"""OpenCV's captures: opened with time-outs, without chatter and without showing passwords."""

import os
import re
from collections.abc import Iterator
from typing import Protocol

# FFmpeg's own messages hold whole addresses, passwords included. It reads this at the first capture.
os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"

import cv2

from stream.sources.base import Frame

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

FILE = "file://"

OPEN_TIMEOUT = 10.0
"""Seconds that opening a camera or an address may take, first frame included."""

READ_TIMEOUT = 5.0
"""Seconds without a frame after which a live source counts as lost."""


class ImageSource(Protocol):
    """Yields images until it ends or is stopped; counts what it had to leave out."""

    label: str  # for the start line, without secrets

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames in the order of their times."""

    @property
    def counts(self) -> dict[str, int]:
        """What was left out so far, by cause; empty when nothing was."""

    def close(self) -> None:
        """Release the device or file. Safe to call twice and from another thread."""


def is_address(ref: str) -> bool:
    """Whether `ref` is an address such as rtsp://..., not a file's path or file:// address."""
    return not ref.startswith(FILE) and re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", ref) is not None


def redact(address: str) -> str:
    """Return an address with user, password and all values of its query replaced by ***."""
    # Up to the last @: a password may hold @, / and ? that nobody escaped.
    address = re.sub(r"://.*@", "://***@", address, flags=re.DOTALL)
    head, mark, query = address.partition("?")
    # Some cameras take their password in the path: /user=admin&password=...
    head = re.sub(r"(?<==)[^/&]+", "***", head)
    return head + mark + re.sub(r"(?<==)[^&#]*", "***", query)


def open_address(address: str) -> cv2.VideoCapture:
    """Open a live stream through FFmpeg, whose time-outs end an open or read that hangs."""
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(OPEN_TIMEOUT * 1000)]
    timeouts += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(READ_TIMEOUT * 1000)]
    return cv2.VideoCapture(address, cv2.CAP_FFMPEG, timeouts)
