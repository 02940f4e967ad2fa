"""Follows people through images: one landmarker each on a crop that moves along, a seeder for newcomers.

Ids count from 0 in the order of appearance and are never used again; who takes another's place gets one of their own,
told by the colours of the torso. Everything depends on frames and their
times alone, not on how fast they are worked on: a video gives the same ids and poses each time.

On the video of two people who shake hands and embrace (72 frames), both are followed by steady ids; in the
embrace the landmarker of the left one jumps onto the right one at frame 52, where the left one is given up.
"""

import itertools
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from stream.motion.projection import Dims
from stream.motion.skeleton import Array, Pose
from stream.pose.association import KNOWN, clear_detections, match
from stream.pose.crop import Crop, Image, Rectangle, views
from stream.pose.detection import Detection, Finder, Follower, extent, is_plausible, pose_distance
from stream.pose.placing import Lens
from stream.pose.track import Seen, Track, observe
from stream.sources.base import Frame

SAME = 0.08
"""Two followed people less far apart (`pose_distance`) are one, and one of them is hidden or followed twice."""

PATIENCE = 5
"""Frames without a plausible detection, or of being the same as another, after which a person counts as lost."""

MEMORY = 2.0
"""Seconds that a lost person keeps their id, to be found again."""

JUMP = 0.5
"""A detection further apart from where the person should be is not them."""

CONFIRM = 0.3
"""A landmarker put on a detection has to see it no further apart than this."""

SEEK_EVERY = 6
"""Frames between looks for newcomers while somebody is followed; each look is at one of `views`."""

SEEK_TIME = 1
"""Frames that such a look may take: what it finds is taken in so many frames later, however soon they are there.
Later, somebody who runs would be elsewhere by then."""

GAP = 0.45
"""Seconds between two frames after which people have to be found anew."""


@dataclass(frozen=True, slots=True)
class _Search:
    image: Image
    found: Future[list[Detection]]
    people: list[Array]  # where the followed people were in the same image
    due: int  # frame in which to take in what was found


class _Followed(Track):
    """A person with an id. `follower` is None while they are lost."""

    def __init__(self, id: int, time: float, seen: Seen, follower: Follower) -> None:
        super().__init__(time, seen)
        self.id = id
        self.misses = 0
        """Frames since the last plausible detection."""
        self.follow(follower, seen)

    def follow(self, follower: Follower, seen: Seen) -> None:
        """Begin to follow the person with a landmarker."""
        self.follower: Follower | None = follower
        self.crop = Crop.around(seen.detection.image)
        self.misses = 0


class CropTracker:
    """Up to `max_persons` people with ids, from one frame to the next.

    make_follower: called, in threads, for as many people. dims: "2d" gives px of the whole image,
    "3d" cm from the middle of each person's own hips, y down; with a lens, from the camera. Takes charge of closing
    followers and finder.
    """

    def __init__(
        self,
        make_follower: Callable[[], Follower],
        finder: Finder,
        max_persons: int,
        dims: Dims,
        lens: Lens | None = None,
    ) -> None:
        self.dims = dims
        self._lens = lens
        self._finder = finder
        self._max_persons = max_persons
        self._threads = ThreadPoolExecutor(max_persons + 2, thread_name_prefix="pose")
        # A landmarker takes a tenth of a second to make, and to make and close them again and again leaves memory
        # in pieces: there are as many as people from the start, and whoever is lost leaves theirs to the next.
        self._spares = deque(self._threads.submit(make_follower) for _ in range(max_persons))
        self._tracks: dict[int, _Followed] = {}
        self._contests: dict[tuple[int, int], int] = {}  # frames that two people have been the same
        self._search: _Search | None = None
        self._ids = itertools.count()
        self._searches = itertools.count()
        self._frame = -1
        self._last: Frame | None = None
        self._closed = False
        self._busy = threading.Lock()

    @property
    def counts(self) -> dict[str, int]:
        """{"landmarker failures": n} when MediaPipe failed and a landmarker had to start anew."""
        followed = [track.follower for track in list(self._tracks.values()) if track.follower is not None]
        failures = sum(follower.failures for follower in [*followed, *self._ready_spares()])
        return {"landmarker failures": failures} if failures else {}

    def warm(self) -> None:
        """Let landmarkers and finder look at nothing once: their first look takes many times as long as others."""
        nothing = np.zeros((64, 64, 3), np.uint8)
        with self._busy:
            if not self._closed:
                self._finder.find(nothing, Crop(0, 0, 64))
                list(self._threads.map(lambda spare: spare.result().detect(nothing, Crop(0, 0, 64), 0.0), self._spares))

    def track(self, frame: Frame) -> dict[int, Pose]:
        """Return the poses of the people in a frame by id; nobody once closed. Frames in the order of time.

        A person is left out of frames in which they are not seen well enough, without losing their id at once.
        """
        with self._busy:
            if self._closed:
                return {}
            self._frame += 1
            self._start_over_after_a_gap(frame)
            people = self._detect(frame)
            withheld = self._settle(frame.time, people)
            self._seek(frame, people)
            for id in withheld:
                del people[id]
            poses = {id: self._pose(seen.detection, frame) for id, seen in sorted(people.items())}
            return {id: pose for id, pose in poses.items() if pose is not None}

    def close(self) -> None:
        """Release all landmarkers. Safe to call twice and from another thread."""
        with self._busy:
            if self._closed:
                return
            self._closed = True
            self._threads.shutdown(cancel_futures=True)
            for track in self._followed():
                self._lose(track)
            for spare in self._ready_spares():
                spare.close()
            self._finder.close()

    def _pose(self, seen: Detection, frame: Frame) -> Pose | None:
        if self._lens is None:
            return seen.pose(self.dims)
        joints = self._lens.place(seen, frame.image)
        return None if joints is None else Pose(joints, seen.confidence)

    def _ready_spares(self) -> list[Follower]:
        done = [spare for spare in list(self._spares) if spare.done() and not spare.cancelled()]
        return [spare.result() for spare in done if spare.exception() is None]

    def _followed(self) -> list[_Followed]:
        return [track for track in self._tracks.values() if track.follower is not None]

    def _start_over_after_a_gap(self, frame: Frame) -> None:
        last, self._last = self._last, frame
        resized = last is not None and last.image.shape != frame.image.shape
        if last is not None and (resized or frame.time - last.time > GAP):
            for track in self._followed():
                self._lose(track)
            if self._search is not None:
                self._search.found.result()  # the finder serves one search at a time
                self._search = None
        for track in list(self._tracks.values()):
            if track.follower is None and (resized or frame.time - track.seen_at > MEMORY):
                del self._tracks[track.id]

    def _detect(self, frame: Frame) -> dict[int, Seen]:
        """Let all landmarkers look at once; return by id who is seen well enough, and looks like themselves."""

        def detect(track: _Followed) -> Detection | None:
            assert track.follower is not None
            return track.follower.detect(frame.image, track.crop, frame.time)

        followed = self._followed()
        detections: dict[int, Detection] = {}
        for track, seen in zip(followed, self._threads.map(detect, followed), strict=True):
            if seen and is_plausible(seen, frame.image) and track.distance_from_prediction(frame.time, seen) < JUMP:
                detections[track.id] = seen
                track.misses = 0
                track.crop = track.crop.towards(seen.image)
            else:
                track.misses += 1
                if track.misses >= PATIENCE:
                    self._lose(track)
        people: dict[int, Seen] = {}
        for id, one in zip(detections, observe(frame.image, list(detections.values())), strict=True):
            if self._tracks[id].looks_like(one) or one.covered:
                people[id] = one
            elif self._tracks[id].doubt():
                self._lose(self._tracks[id])
        return people

    def _settle(self, time: float, people: dict[int, Seen]) -> set[int]:
        """Find people who are the same; return the ids of those who are not who they should be.

        When one person hides another, or two embrace, both landmarkers end up on one body. It belongs to whom
        it surprises less: who was on the way there, not who leapt. While it lasts neither's way is learned
        from it; if the two do not part soon, the other is lost.
        """
        before, self._contests = self._contests, {}
        withheld: set[int] = set()
        for pair in itertools.combinations(sorted(people), 2):
            if pose_distance(people[pair[0]].detection.image, people[pair[1]].detection.image) < SAME:
                self._contests[pair] = before.get(pair, 0) + 1
                withheld.add(
                    max(pair, key=lambda id: self._tracks[id].distance_from_prediction(time, people[id].detection))
                )
        contested = set(itertools.chain.from_iterable(self._contests))
        for id, seen in people.items():
            if id not in contested:
                self._tracks[id].remember(time, seen)
            elif id in withheld and max(n for pair, n in self._contests.items() if id in pair) >= PATIENCE:
                self._lose(self._tracks[id])
        return withheld

    def _seek(self, frame: Frame, people: dict[int, Seen]) -> None:
        """Take in what a search found when it is due, and begin the next."""
        if self._search is not None and self._frame >= self._search.due:
            search, self._search = self._search, None
            self._admit(search, frame, people)
        followed = self._followed()
        if self._search is not None or len(followed) >= self._max_persons:
            return
        if not followed:
            self._admit(self._begin_search(frame, []), frame, people)
        elif self._frame % SEEK_EVERY == 0:
            self._search = self._begin_search(frame, [track.predict(frame.time) for track in followed])

    def _begin_search(self, frame: Frame, people: list[Array]) -> _Search:
        squares = views(frame.image)
        square = squares[next(self._searches) % len(squares)]
        found = self._threads.submit(self._finder.find, frame.image, square)
        return _Search(frame.image, found, people, self._frame + SEEK_TIME)

    def _admit(self, search: _Search, frame: Frame, people: dict[int, Seen]) -> None:
        """Follow the detections that are people lost before, and newcomers, as long as there is room."""
        plausible = [one for one in search.found.result() if is_plausible(one, search.image)]
        detections = observe(search.image, clear_detections(plausible))
        lost = [track for track in self._tracks.values() if track.follower is None]
        recovered, newcomers = match(detections, search.people, lost, frame.time)
        for row, index in recovered:
            if confirmed := self._confirm(detections[row].detection, frame, people):
                follower, seen = confirmed
                track = lost[index]
                track.remember(frame.time, seen)
                track.follow(follower, seen)
                people[track.id] = seen
        for row in newcomers:
            if confirmed := self._confirm(detections[row].detection, frame, people):
                follower, seen = confirmed
                track = _Followed(next(self._ids), frame.time, seen, follower)
                self._tracks[track.id] = track
                people[track.id] = seen

    def _confirm(self, detection: Detection, frame: Frame, people: dict[int, Seen]) -> tuple[Follower, Seen] | None:
        """Put a spare landmarker on a detection; return it if it sees the same, and nobody who is followed."""
        if len(self._followed()) >= self._max_persons:
            return None
        follower = self._spares.popleft().result()
        seen = follower.detect(frame.image, Crop.around(detection.image), frame.time, only=_rectangle(detection.image))
        others = [other.detection for other in people.values()]
        if (
            seen is not None
            and is_plausible(seen, frame.image)
            and pose_distance(seen.image, detection.image) < CONFIRM
            and all(pose_distance(seen.image, other.image) >= KNOWN for other in others)
        ):
            return follower, observe(frame.image, [seen, *others])[0]
        self._spares.append(_ready(follower))
        return None

    def _lose(self, track: _Followed) -> None:
        assert track.follower is not None
        self._spares.append(_ready(track.follower))
        track.follower = None


def _ready(follower: Follower) -> Future[Follower]:
    spare: Future[Follower] = Future()
    spare.set_result(follower)
    return spare


def _rectangle(joints: Array) -> Rectangle:
    """Return the part of the image with a person, joints [17, 2] px, and hardly anybody beside them."""
    room = 0.15 * extent(joints)
    (left, top), (right, bottom) = joints.min(axis=0).tolist(), joints.max(axis=0).tolist()
    return left - room, top - room, right + room, bottom + room
