"""A producer whose camera fails: `python -m tests.drills.faulty_camera FAULT SECONDS [FLAGS OF THE PRODUCER]`.

Only the device and the pose model are doubles. It prints when the fault begins and ends, in monotonic seconds.
"""

import math
import runpy
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from stream.pose import source as vision
from stream.pose.crop_tracker import CropTracker
from stream.sources import camera, live
from vision_fakes import FakeFinder, Stage

HEALTHY = 3.0
"""Seconds of good images before the fault."""

SMALL = (360, 640)
FAULTS = ("raises", "nothing", "hangs", "repeats", "resizes", "none")

STAGE = Stage({"somebody": lambda time: (300.0, 30.0)})


class Device:
    """The camera itself, whoever opens it: well, then at fault for some seconds, then well again."""

    def __init__(self, fault: str, seconds: float) -> None:
        self._fault, self._seconds = fault, seconds
        self._first: float | None = None
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def fault(self) -> str | None:
        """Return what is wrong now; None when all is well."""
        with self._lock:
            now = time.monotonic()
            self._first = self._first or now
            begin = self._first + HEALTHY
            ill = begin <= now < begin + self._seconds
            if ill:
                self._tell("begin", begin)
            elif now >= begin:
                self._tell("end", begin + self._seconds)
            return self._fault if ill else None

    def _tell(self, what: str, when: float) -> None:
        if what not in self._told:
            self._told.add(what)
            print(what, when, flush=True)


class Capture:
    """Takes the place of cv2.VideoCapture."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._open = device.fault() not in ("raises", "nothing")
        self._hang()

    def grab(self) -> bool:
        time.sleep(1 / 30)
        fault = self._device.fault()
        self._hang()
        if fault == "raises":
            raise cv2.error("the device is gone")
        return self._open and fault != "nothing"

    def retrieve(self) -> tuple[bool, Any]:
        height, width = SMALL if self._device.fault() == "resizes" else STAGE.shape
        return True, np.zeros((height, width, 3), np.uint8)

    def release(self) -> None:
        self._open = False

    def _hang(self) -> None:
        while self._device.fault() == "hangs":
            time.sleep(0.02)


class StuckClock:
    """The time of arrival that the camera's reader sees; it stands still while stamps repeat."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._last = time.monotonic_ns()

    def monotonic_ns(self) -> int:
        if self._device.fault() != "repeats":
            self._last = time.monotonic_ns()
        return self._last


def main() -> None:
    """Put the doubles in place and run the producer."""
    fault, seconds, *flags = sys.argv[1:]
    if fault not in FAULTS:
        sys.exit(f"no fault {fault}: one of {', '.join(FAULTS)}")
    device = Device(fault, float(seconds) if fault != "none" else math.inf)
    if fault != "none":
        doubled: Any = cv2
        doubled.VideoCapture = lambda *where: Capture(device)
        devices: Any = camera
        devices.check_camera = lambda index: None  # it looks for the device file, which a double has not
        reader: Any = live
        reader.time = SimpleNamespace(monotonic=time.monotonic, monotonic_ns=StuckClock(device).monotonic_ns)
    model: Any = vision
    model.find_pose_model = lambda given: Path("double")
    model.mediapipe_tracker = lambda file, most, dims, lens: CropTracker(
        STAGE.make_follower, FakeFinder(STAGE), most, dims
    )
    sys.argv = ["producer", "--pose", "mediapipe", *flags]
    runpy.run_module("stream.producer", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
