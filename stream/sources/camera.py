"""A camera at this machine."""

import sys
import threading
from pathlib import Path

import cv2

from stream.errors import SourceError
from stream.sources.base import Wanted
from stream.sources.live import LiveSource


def check_camera(index: int) -> None:
    """Raise SourceError where this machine certainly has no such camera. Opens nothing."""
    if sys.platform.startswith("linux") and not Path(f"/dev/video{index}").exists():
        raise SourceError(f"no camera {index}: {_advice()}")


class CameraSource(LiveSource):
    """The images of camera `index`, counted from 0. Raises SourceError, on iterating, when there is none."""

    def __init__(self, index: int, stop: threading.Event, wanted: Wanted | None = None) -> None:
        super().__init__(
            lambda: cv2.VideoCapture(index),
            label=f"camera {index}",
            unreachable=f"no camera {index}: it cannot be opened or gives no image; {_advice()}",
            stop=stop,
            wanted=wanted,
        )


def _advice() -> str:
    if not sys.platform.startswith("linux"):
        return "try --camera 0, or close what else uses the camera"
    devices = sorted(path.name.removeprefix("video") for path in Path("/dev").glob("video*"))
    if not devices:
        return "this machine has none (ls /dev/video* is empty): plug one in"
    return f"there are {', '.join(devices)} (ls /dev/video*): try another, or close what else uses it"
