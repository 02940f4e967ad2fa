"""Follows people through images by finding everybody in each: place decides who is who, appearance has a veto.

Ids count from 0 in the order of appearance and are never used again. Everything depends on frames and their times
alone, so a video gives the same ids and poses each time.
"""

import itertools
import threading
from typing import Protocol

import numpy as np

from stream.motion.projection import Dims
from stream.motion.skeleton import Pose
from stream.pose.association import assign, suppress_duplicates
from stream.pose.crop import Image
from stream.pose.detection import Detection
from stream.pose.track import Seen, Track, observe
from stream.sources.base import Frame

MEMORY = 2.0
"""Seconds that somebody who is out of sight keeps their id, to be found again."""

CONFIRM = 3
"""Frames in a row in which a doubtful newcomer has to be seen before they get an id."""

CLEAR = 0.45
"""Mean confidence of a newcomer who needs no confirmation."""


class Detector(Protocol):
    """Finds everybody in a single image, with no memory of who is who."""

    def warm(self, image: Image) -> None:
        """Get ready for images of this size."""

    def detect(self, image: Image) -> list[Detection]:
        """Return the people in a BGR image, joints in px."""


class DetectionTracker:
    """Up to `max_persons` people with ids, from one frame to the next; see `stream.pose.crop_tracker.CropTracker`.

    Gives px of the whole image.
    """

    dims: Dims = "2d"

    def __init__(self, detector: Detector, max_persons: int) -> None:
        self._detector = detector
        self._max_persons = max_persons
        self._people: list[Track] = []
        self._doubtful: list[Track] = []  # seen, but not yet often enough for an id
        self._ids = itertools.count()
        self._size: tuple[int, ...] | None = None
        self._closed = False
        self._busy = threading.Lock()

    @property
    def counts(self) -> dict[str, int]:
        """Always empty: the network does not fail on single images."""
        return {}

    def warm(self) -> None:
        """Nothing to do before the size of the images is known."""

    def track(self, frame: Frame) -> dict[int, Pose]:
        """Return the poses of the people in a frame by id; nobody once closed. Frames in the order of time.

        Somebody not seen in a frame is left out of it, and keeps their id for `MEMORY` seconds.
        """
        with self._busy:
            if self._closed:
                return {}
            if frame.image.shape != self._size:
                self._start_over(frame.image)
            seen = observe(frame.image, suppress_duplicates(self._detector.detect(frame.image)))
            known, unknown = assign(self._people, seen, frame.time)
            poses: dict[int, Pose] = {}
            for person, sight in known:
                if person.looks_like(sight) or sight.covered:
                    person.remember(frame.time, sight)
                    poses[person.id] = sight.detection.pose(self.dims)
                elif person.doubt():
                    unknown.append(sight)
            self._forget(frame.time)
            for newcomer in self._newcomers(unknown, frame.time):
                poses[newcomer.id] = newcomer.last.detection.pose(self.dims)
            return dict(sorted(poses.items()))

    def close(self) -> None:
        """Release the network. Safe to call twice and from another thread."""
        with self._busy:
            self._closed = True
            self._people.clear()

    def _start_over(self, image: Image) -> None:
        self._size = image.shape
        self._people.clear()
        self._doubtful.clear()
        self._detector.warm(image)

    def _forget(self, time: float) -> None:
        self._people = [person for person in self._people if time - person.seen_at <= MEMORY]

    def _newcomers(self, unknown: list[Seen], time: float) -> list[Track]:
        """Give ids to people seen clearly, or often enough, as long as there is room."""
        again, first = assign(self._doubtful, unknown, time)
        candidates = []
        for person, sight in again:
            person.remember(time, sight)
            candidates.append(person)
        candidates += [Track(time, sight) for sight in first]
        present = sum(person.seen_at == time for person in self._people)
        admitted: list[Track] = []
        self._doubtful = []
        for person in candidates:
            sure = person.sights >= CONFIRM or float(np.mean(person.last.detection.confidence)) >= CLEAR
            if sure and present + len(admitted) < self._max_persons:
                person.id = next(self._ids)
                admitted.append(person)
            else:
                self._doubtful.append(person)
        self._people += admitted
        return admitted
