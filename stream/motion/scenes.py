"""The people of a CMU Panoptic recording, frame by frame, in cm or seen through a camera."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.errors import SourceError
from stream.motion.panoptic import Recording, frame_name
from stream.motion.projection import View, look
from stream.motion.skeleton import FROM_PANOPTIC19, SEEN, Array, Pose

FPS = 29.97
"""Frames a second of Panoptic's HD cameras, which the poses follow."""

MEASURED = 0.1
"""Panoptic's confidence is small: joints that were triangulated have 0.1 to 0.7, and users of the data
count them from 0.1 on. This value becomes `SEEN`."""

FAR = 1e4
"""A joint more than 100 m away is not a measurement."""

CLOCK_DOUBT = 60.0
"""A time stamp that leaps this many seconds ahead of the frame numbers is not believed."""

LARGEST_ID = 2**63 - 1
"""The largest track of a packet. The data set marks outliers by -1, and its own tools skip them."""

_log = logging.getLogger(__name__)


class _Body(msgspec.Struct):
    id: int
    joints19: Annotated[list[float | None], msgspec.Meta(min_length=76, max_length=76)]  # None: not a number


class _Frame(msgspec.Struct):
    bodies: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=256)]
    univTime: Any = None


@dataclass(frozen=True)
class _Scene:
    """A frame's bodies: [19, 4] of x, y, z, confidence by id; odd: why others were left out; stamp in ms."""

    bodies: dict[int, NDArray[np.float64]]
    odd: list[str]
    stamp: float | None


_FRAME = msgspec.json.Decoder(_Frame)
_BODY = msgspec.json.Decoder(_Body)


class Scenes:
    """Reads a recording's frames. Those that cannot be read are left out and counted, and so are odd bodies.

    view: what sees the bodies, px; None leaves them in cm. path: for messages.
    """

    def __init__(self, path: str | Path, recording: Recording, view: View | None = None) -> None:
        self._path, self._recording, self._view = path, recording, view
        self._unreadable = self._left_out = 0
        self._told: set[str] = set()
        self.first_fault: str | None = None
        """Name of the first frame that could not be read whole, and why."""

    @property
    def counts(self) -> dict[str, int]:
        """ "frames unreadable" and "bodies left out", where there were any."""
        counts = {"frames unreadable": self._unreadable, "bodies left out": self._left_out}
        return {name: count for name, count in counts.items() if count}

    def read(
        self, start: float = 0.0, stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[float, dict[int, Pose]]]:
        """Yield time, from `start` s on, and people by id of every frame. stopped: ends it, asked before each frame."""
        clock = _Timeline(start)
        for number in self._recording.numbers:
            if stopped():
                return
            try:
                scene = _decode(self._recording.read(number))
            except (OSError, ValueError) as error:
                self._unreadable += 1
                self._note_fault(number, str(error), "it cannot be read and is left out, like all such frames")
                continue
            if scene.odd:
                self._left_out += len(scene.odd)
                self._note_fault(number, scene.odd[0], "that body is left out, like all such bodies")
            yield clock.at(number, scene.stamp), _people(scene, self._view)

    def _note_fault(self, number: int, why: str, what: str) -> None:
        """Tell the first fault of each kind."""
        fault = f"{frame_name(number)}: {why}"
        self.first_fault = self.first_fault or fault
        if what not in self._told:
            self._told.add(what)
            _log.warning("%s: %s", fault, what)

    def check(self, time: float | None) -> None:
        """Raise SourceError where no frame could be read, or the files break off. time: of the last frame read."""
        whole = len(self._recording.numbers)
        if time is None:
            raise SourceError(f"none of the {whole} frames of {self._path} can be read ({self.first_fault})")
        if self._recording.cut:
            raise SourceError(
                f"{self._path} is incomplete: {self._recording.cut}; "
                f"the {whole} frames that are there were replayed: download it again"
            )


class _Timeline:
    """Source time of a round: by the recording's clock, by the frame numbers where that does not go on."""

    def __init__(self, start: float) -> None:
        self._time = start
        self._number: int | None = None
        self._stamp: float | None = None

    def at(self, number: int, stamp: float | None) -> float:
        """Seconds at a frame; `stamp` in ms. Rises with every call, for numbers do."""
        if self._number is not None:
            expected = (number - self._number) / FPS
            risen = (stamp - self._stamp) / 1000 if stamp is not None and self._stamp is not None else 0.0
            self._time += risen if 0 < risen <= expected + CLOCK_DOUBT else expected
        self._number, self._stamp = number, stamp
        return self._time


def _decode(content: bytes) -> _Scene:
    """One frame; ValueError, with the reason, when it is none."""
    try:
        frame = _FRAME.decode(content)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        try:  # Python's own reader takes the NaN and Infinity that some writers put into JSON; they become null
            frame = _FRAME.decode(msgspec.json.encode(json.loads(content)))
        except (ValueError, OverflowError, RecursionError):
            raise ValueError(str(error)) from error
    bodies: dict[int, NDArray[np.float64]] = {}
    odd = []
    for raw in frame.bodies:
        try:
            body = _BODY.decode(raw)
        except (msgspec.DecodeError, RecursionError) as error:
            odd.append(f"a damaged body ({error})")
            continue
        rows = np.array(body.joints19, np.float64).reshape(19, 4)
        if not 0 <= body.id <= LARGEST_ID:
            odd.append(f"a body with the id {body.id}")
        elif body.id in bodies:
            odd.append(f"another body with the id {body.id}, measured worse")
            bodies[body.id] = max(bodies[body.id], rows, key=_measured)
        else:
            bodies[body.id] = rows
    stamp = frame.univTime if type(frame.univTime) in (int, float) else None  # True is an int too
    return _Scene(bodies, odd, stamp)


def _measured(rows: NDArray[np.float64]) -> float:
    """How well a body is measured: the sum of the confidence of its joints."""
    return float(np.nansum(rows[:, 3].clip(0, 1)))


def _people(scene: _Scene, view: View | None) -> dict[int, Pose]:
    """Everyone with a joint that is seen."""
    if not scene.bodies:
        return {}
    rows = np.stack(list(scene.bodies.values()))[:, FROM_PANOPTIC19]
    measured = (np.abs(rows) < FAR).all(axis=2) & (rows[..., 3] >= 0)
    joints: Array = np.where(measured[..., None], rows[..., :3], 0.0).astype(np.float32)
    confidence = _rescaled(np.where(measured, rows[..., 3], 0.0))
    if view is not None:
        joints, confidence = look(view, joints, confidence)
    return {id: Pose(joints[i], confidence[i]) for i, id in enumerate(scene.bodies) if confidence[i].max() >= SEEN}


def _rescaled(confidence: NDArray[np.float64]) -> Array:
    """Panoptic's confidence on our scale, 0..1."""
    return np.interp(confidence, (0.0, MEASURED, 1.0), (0.0, SEEN, 1.0)).astype(np.float32)
