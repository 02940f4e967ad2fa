"""Video that ends: files, and films on web servers, read completely and in order."""

import stat
import threading
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

from stream.errors import SourceError
from stream.sources.address import FILE, is_address, may_end, shown
from stream.sources.base import LOOP_GAP, Frame, ImageSource, Pacer, Rate, Wanted
from stream.sources.film import Film, Picture, open_film
from stream.sources.live import AddressSource
from stream.sources.threaded import Threaded

DEPTH = 4
"""Frames read ahead; each is 6 MB at 1920 x 1080."""

POLL = 0.1
"""Seconds: how soon a wait notices that the source is stopped."""

ASK_S = 5.0
"""Seconds that an address may take to say whether it gives a film."""

GIVE_UP_S = 0.3
"""Seconds that closing waits, so that a file that does not hang is closed on return."""


def open_video(
    ref: str,
    rate: Rate,
    stop: threading.Event,
    loop: bool = False,
    live: bool | None = None,
    wanted: Wanted | None = None,
) -> ImageSource:
    """Give the images of a file, or of an address (rtsp://, http:// and so on).

    An address on a web server that gives a film, which has an end, is read as a file is; everything else at an address
    is live. live: overrules that. rate and loop are for what ends. wanted: by default all images. Raises SourceError
    where there is no such file.
    """
    try:
        ref.encode()
    except UnicodeEncodeError:
        if is_address(ref):
            raise SourceError(f"{shown(ref)} is not a valid address: it must be UTF-8") from None
    if not is_address(ref):
        return VideoSource(ref.removeprefix(FILE), rate, stop, loop, wanted)
    if live is None:
        live = not (may_end(ref) and _is_film(ref, stop))
    return AddressSource(ref, stop, wanted) if live else VideoSource(ref, rate, stop, loop, wanted)


def _is_film(address: str, stop: threading.Event) -> bool:
    """Whether an address gives something with an end. What does not answer, or not before `stop`, is not a film."""
    # In a thread: it may hang for as long as an address is waited for.
    for ends in Threaded(map(_has_end, [address]), idle=POLL):
        if ends is not None or stop.is_set():
            return bool(ends)
    return False


def _has_end(address: str) -> bool:
    try:
        _, container = open_film(address, ASK_S)
    except SourceError:
        return False
    with container:
        return bool(container.duration and container.duration > 0)


class VideoSource:
    """The frames of a film, all or those that are wanted, `time` being their presentation time, counted from the first.

    path: of a file, or the address of a film. rate: "realtime" gives each frame at its time, "max" at once. loop:
    start over at the end, `LOOP_GAP` later.

    Raises SourceError: when there is no such file or it cannot be read; on iterating, as `Film` does.
    """

    live = False

    def __init__(
        self, path: str | Path, rate: Rate, stop: threading.Event, loop: bool = False, wanted: Wanted | None = None
    ) -> None:
        self._ref = str(path)
        if is_address(self._ref):
            self.label = f"video {shown(self._ref)} (a film, read once)"
        else:
            _check_file(Path(path))
            self.label = f"video {shown(Path(path).name)}"
        self._loop = loop
        self._wanted = wanted
        self._pacer = Pacer(rate, stop)
        self._stop = stop
        self._closed = threading.Event()
        self._counts: Counter[str] = Counter()

    @property
    def counts(self) -> dict[str, int]:
        """{"frames damaged": not decodable, or only in part, "time jumps": seams of recordings}."""
        return dict(self._counts)

    def close(self) -> None:
        """End the iteration within a moment, even while the file hangs."""
        self._closed.set()

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames, read ahead in a thread."""
        ahead = Threaded(self._rounds(), DEPTH, POLL)
        try:
            for picture in ahead:
                if self._over():
                    return
                if picture is None:
                    continue
                captured_ns = self._pacer.wait(picture.time)
                if captured_ns is None or self._over():
                    return
                yield Frame(picture.image, picture.time, captured_ns)
        finally:
            ahead.close(GIVE_UP_S)

    def _over(self) -> bool:
        return self._stop.is_set() or self._closed.is_set()

    def _rounds(self) -> Generator[Picture, None, None]:
        start = 0.0
        while True:
            time = start
            for picture in Film(self._ref, self._counts, self._wanted_from(start)):
                time = start + picture.time
                yield Picture(picture.image, time)
            if not self._loop:
                return
            start = time + LOOP_GAP

    def _wanted_from(self, start: float) -> Wanted | None:
        wanted = self._wanted
        return None if wanted is None else lambda time: wanted(start + time)


def _check_file(path: Path) -> None:
    """Raise SourceError where there is no file, or one that cannot be read."""
    name, remedy = shown(str(path)), "give the path of a video file, or an address such as rtsp://..."
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            path.open("rb").close()
            return
    except FileNotFoundError:
        raise SourceError(f"{name} does not exist: {remedy}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"{name} cannot be read: {reason.lower()}") from None
    if stat.S_ISDIR(mode):
        raise SourceError(f"{name} is a folder: {remedy}")
    if stat.S_ISCHR(mode):
        raise SourceError(f"{name} is a device: for a camera give its number, such as --camera 0")
    raise SourceError(f"{name} is a pipe, a socket or a disk, not a file: {remedy}")
