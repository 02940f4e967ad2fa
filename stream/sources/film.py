"""One pass over a video that ends: a file, or an address of a film. Damage costs what is damaged."""

import errno
import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

import av
import av.error
import numpy as np
from av.codec.context import Flags
from av.container import InputContainer
from av.stream import Discard, Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

from stream.errors import SourceError
from stream.sources.address import OPEN_TIMEOUT, READ_TIMEOUT, is_address, shown
from stream.sources.base import LOOP_GAP, Wanted
from stream.sources.containers import is_cut_off

GIVE_UP = 1000
"""Pictures in a row that cannot be decoded, and failed reads, after which nothing better is expected."""

JUMP_S = 10.0
"""Seconds from which on a step of the time stamps is the seam of two recordings and not a pause of one."""

BACK_S = 1.0
"""Seconds by which time stamps may fall back, as writers of odd containers let them, and be no seam."""

SHORT_S = 0.5
"""Seconds that a container may announce and not hold: writers round, and count a last, unfinished frame."""

ANNOUNCING = {"matroska,webm", "flv", "asf"}
"""Containers whose duration is written into them, over all streams; of others the reader estimates it."""

USUAL_FPS = 30.0
"""Frames per second where a container does not say."""

STILLS = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails

_log = logging.getLogger(__name__)


class Picture(NamedTuple):
    """image: uint8 [H, W, 3], BGR, as it is to be shown: upright, with square pixels. time: seconds from the first."""

    image: NDArray[np.uint8]
    time: float


class Film:
    """Reads the pictures of a film once, in order.

    ref: path of a file or address. counts: what was met is added to it, as "frames damaged" and "time jumps". wanted:
    by default all pictures are; of the others no image is made, which takes as long as to decode them.

    Iterating raises SourceError: where no picture can be read, where the film breaks off before its end, and where
    nothing but damage comes any more; in the last two cases after the pictures that there are.
    """

    def __init__(self, ref: str, counts: Counter[str], wanted: Wanted | None = None) -> None:
        self._ref = ref
        self._name = shown(ref)
        self._counts = counts
        self._wanted = wanted
        self._told: set[str] = set()

    def __iter__(self) -> Iterator[Picture]:
        """Yield the pictures."""
        with ExitStack() as resources:
            file, container = open_film(self._ref)
            resources.callback(container.close)
            if file:
                resources.callback(file.close)
            stream = choose_stream(container)
            if stream is None or stream.codec_context is None or stream.codec_context.name == "ansi":
                raise no_video(self._ref)
            # Slices, not frames at once: where there is damage, those give another count and other pictures each time.
            stream.thread_type = "SLICE"
            clock = Timeline(float(stream.guessed_rate or 0) or USUAL_FPS)
            pictures = 0
            reading = _Reading(container, stream, self._damage)
            for frame in reading:
                time, jump = clock.at(math.nan if frame.time is None else frame.time)
                if jump:
                    self._counts["time jumps"] += 1
                    told = f"time stamps jump by {jump:.0f} s at {time:.1f} s: taken for a seam of two recordings"
                    self._tell("jump", f"{self._name}: {told}")
                if frame.is_corrupt:
                    self._damage()
                pictures += 1
                if self._wanted is None or self._wanted(time):
                    yield Picture(as_shown(frame, stream), time)
            if not pictures:
                raise no_video(self._ref)
            if reading.gave_up or reading.ended_early(container) or (file and is_cut_off(file)):
                of = f" of {stream.frames}" if stream.frames > pictures else ""
                raise SourceError(
                    f"{self._name} breaks off after frame {pictures}{of}: the file is cut short or damaged; "
                    "copy it again or re-encode what is left"
                )

    def _damage(self) -> None:
        self._counts["frames damaged"] += 1
        self._tell("damage", f"{self._name}: damaged pictures: going on with those that can be decoded")

    def _tell(self, what: str, message: str) -> None:
        """Warn of each kind of fault once."""
        if what not in self._told:
            self._told.add(what)
            _log.warning("%s", message)


class _Reading:
    """The frames of a stream, decoded one packet after the other, past what is damaged."""

    def __init__(self, container: InputContainer, stream: VideoStream, damage: Callable[[], None]) -> None:
        self._container, self._stream, self._damage = container, stream, damage
        self._end = 0.0  # of the last packet of any stream, seconds
        self._last_is_partial = False
        self.gave_up = False

    def __iter__(self) -> Iterator[av.VideoFrame]:
        ours: Iterator[av.Packet[Any]] = (
            packet for packet in self._packets() if packet.stream.index == self._stream.index
        )
        if self._container.format.name == "ogg":
            ours = self._without_gaps(ours)
        self.gave_up |= not (yield from decode_past_damage(ours, self._damage, GIVE_UP))

    def _packets(self) -> Iterator["av.Packet[Any]"]:
        failures = 0
        while True:
            try:
                for packet in self._container.demux():
                    failures = 0
                    if packet.size and packet.pts is not None and packet.time_base:
                        ends = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                        self._end = max(self._end, ends)
                        self._last_is_partial = packet.is_corrupt
                    yield packet
                return
            except av.error.FFmpegError as error:
                failures += 1
                # A file that is read to its end fails there again and again; an address that hangs is given up.
                if failures > 10 or isinstance(error, OSError):
                    self.gave_up = True
                    return

    def _without_gaps(self, packets: Iterable["av.Packet[Any]"]) -> Iterator["av.Packet[Any]"]:
        """Count what is missing between packets: of an Ogg, whose pictures follow one on the other, the reader leaves
        out damaged pages without a word."""
        due: int | None = None
        for packet in packets:
            if packet.pts is not None and packet.duration:
                gap = 0 if due is None else (packet.pts - due) // packet.duration
                for _ in range(gap if gap * packet.duration * (packet.time_base or 0) < JUMP_S else 0):
                    self._damage()
                due = packet.pts + packet.duration
            yield packet

    def ended_early(self, container: InputContainer) -> bool:
        """Whether the container announces more than came, or its last packet is not whole."""
        if container.format.name == "mpegts":  # of which packets are called corrupt wherever two recordings meet
            return False
        announced = (container.duration or 0) / av.time_base
        start = (container.start_time or 0) / av.time_base
        missing = announced - (self._end - min(start, 0.0))
        return self._last_is_partial or (container.format.name in ANNOUNCING and missing > SHORT_S)


class Timeline:
    """Seconds from the first picture: the presentation times while they rise, the announced rate where they do not."""

    def __init__(self, fps: float) -> None:
        self._step = 1 / fps
        self._first: float | None = None
        self._since = 0.0

    def at(self, stamp: float) -> tuple[float, float]:
        """Return the time of the next picture, presented at `stamp` (nan: not told), and by how much it jumps.

        The time rises with every call. A jump is 0 but at the seam of two recordings, which is made `LOOP_GAP` wide:
        longer than what a body is held for, so that everybody begins anew.
        """
        if self._first is None:
            self._first = 0.0 if math.isnan(stamp) else stamp
            return 0.0, 0.0
        if math.isnan(stamp):
            stamp = self._first + self._since + self._step
        step = stamp - self._first - self._since
        if step > JUMP_S or step < -BACK_S:
            self._since += LOOP_GAP
            self._first = stamp - self._since
            return self._since, step
        self._since += step if step > 0 else self._step
        return self._since, 0.0


def open_film(ref: str, patience: float = OPEN_TIMEOUT) -> tuple[IO[bytes] | None, InputContainer]:
    """Open a file or an address; the file is None for an address, which must open within `patience` seconds.

    Raises SourceError.
    """
    try:
        if is_address(ref):
            options = {"rtsp_transport": "tcp"} if ref.lower().startswith("rtsp") else {}
            return None, av.open(ref, options=options, timeout=(patience, READ_TIMEOUT))
        file = Path(ref).open("rb")  # noqa: SIM115  # the caller closes it
    except OSError as error:
        raise SourceError(f"{shown(ref)} cannot be read: {_reason(error)}") from None
    except (av.error.FFmpegError, ValueError):
        raise SourceError(f"no readable video at {shown(ref)}") from None
    try:
        # By its name, FFmpeg reads a file itself, which is faster; but a name must be UTF-8.
        name = os.fsencode(os.path.abspath(ref))
        place = f"file:{name.decode()}" if _is_utf8(name) else file
        return file, av.open(place, mode="r", metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as error:
        file.close()
        if isinstance(error, OSError) and error.errno in (errno.ENFILE, errno.EMFILE):
            raise SourceError(f"{shown(ref)} cannot be read: {_reason(error)}") from None
        raise no_video(ref) from None


def no_video(ref: str) -> SourceError:
    """Return what to say of a file or address that holds nothing to be read."""
    if is_address(ref):
        return SourceError(f"no readable video at {shown(ref)}: download it first and give the file")
    return SourceError(f"no readable video in {shown(ref)}: is it complete, and really a video?")


def decode_past_damage(
    packets: Iterable["av.Packet[Any]"], damage: Callable[[], None], give_up: int
) -> Generator[av.VideoFrame, None, bool]:
    """Yield the frames of packets; return whether they were read to their end.

    damage: called for each packet that cannot be decoded; after more than `give_up` of them in a row no more is read.
    """
    futile = 0
    shown = False
    for packet in packets:
        if not packet.size and packet.pts is not None:  # says that the picture before stays, as of Theora
            continue
        try:
            frames = packet.decode()
        except av.error.PermissionError:  # Theora's header once more, where two films were put together
            continue
        except av.error.FFmpegError:
            damage()
            frames = []
            futile += 1
            if futile > give_up:
                return False
        for frame in frames:
            futile = 0
            if not shown:
                # From now on what lacks another picture is shown all the same: until a whole one comes, that may be
                # long. Not before, as a recording may begin anywhere.
                packet.stream.codec_context.flags |= Flags.output_corrupt
                shown = True
            yield frame
    return True


def choose_stream(container: InputContainer) -> VideoStream | None:
    """Return the video stream that plays: no cover, no still, no preview. The others are not read any more."""
    streams = list(container.streams.video)
    playing = [s for s in streams if s.codec_context and not s.disposition & STILLS]
    if any(s.disposition & Disposition.attached_pic for s in streams) and not playing:  # music with a cover
        return None
    chosen = max(playing or streams, key=_plays, default=None)
    for stream in streams:
        if stream is not chosen:
            stream.discard = Discard.all
    return chosen


def _plays(stream: VideoStream) -> tuple[bool, float, bool, int]:
    """Order streams by how likely they are the film: not one picture, long, marked as default, large."""
    context = stream.codec_context
    return (
        stream.frames != 1,
        round(_seconds(stream)),
        bool(stream.disposition & Disposition.default),
        context.width * context.height,
    )


def _seconds(stream: VideoStream) -> float:
    """Return how long a stream lasts; 0 where nobody says."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    hours, minutes, seconds = (stream.metadata.get("DURATION", "").split(":") + ["0"] * 3)[:3]  # Matroska's tag
    try:
        return 3600 * float(hours) + 60 * float(minutes) + float(seconds)
    except ValueError:
        return 0.0


def as_shown(frame: av.VideoFrame, stream: VideoStream) -> NDArray[np.uint8]:
    """Return a frame as BGR, turned upright and with square pixels."""
    aspect = float(stream.sample_aspect_ratio or 1)
    width, height = frame.width, frame.height
    # A pixel may be wide or narrow, but not this much: some writers put nonsense there.
    if 0.1 < aspect < 10 and aspect != 1:
        width, height = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    image: NDArray[Any] = frame.to_ndarray(format="bgr24", width=width, height=height)
    if turns := round(frame.rotation / 90) % 4:
        image = np.ascontiguousarray(np.rot90(image, turns))
    return image


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _reason(error: OSError) -> str:
    """Return what keeps a file from being read and what to do."""
    told = {
        errno.EACCES: "permission denied",
        errno.EMFILE: "too many open files: raise the limit (ulimit -n)",
        errno.ENOENT: "it is gone",
    }
    return told.get(error.errno or 0, (error.strerror or str(error)).lower())
