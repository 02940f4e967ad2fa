"""Plays recordings of joints, the npz files that training reads: as they are, or seen from the front."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stream.errors import SourceError
from stream.motion.clips import Clip, read_npz
from stream.motion.projection import Dims, OrthographicFront, look
from stream.motion.skeleton import Pose
from stream.sources.base import LOOP_GAP, Pacer, PoseFrame, Rate, Unit


def clips_of(file: Path) -> list[Clip]:
    """Return the clips of an npz file. Raises SourceError where it cannot be read."""
    try:
        return read_npz(file)
    except FileNotFoundError:
        raise SourceError(f"no recording {file}: check the path") from None
    except (OSError, ValueError) as error:
        raise SourceError(f"{file} is not a recording of joints: {error}") from None


def shots_of(clip: Clip, dims: Dims, track: int = 0) -> Iterator[tuple[float, dict[int, Pose]]]:
    """Yield the time (s) and the poses of a clip's frames: cm for 3d, px of the orthographic front view for 2d."""
    joints, confidence = clip.joints, clip.known().astype(np.float32)
    if dims == "2d":
        joints, confidence = look(OrthographicFront(), joints, confidence)
    for number, (place, sure) in enumerate(zip(joints, confidence, strict=True)):
        yield number / clip.fps, {track: Pose(place, sure)} if sure.any() else {}


class JointsSource:
    """The motion of an npz file in the form that training reads.

    recording: FILE plays its clips one after the other, each a new person; FILE:CLIP only that one, a number from 0 or
    a name. Raises SourceError where there is no such file or clip.
    """

    live = False

    def __init__(self, recording: str, dims: Dims, rate: Rate, stop: threading.Event, loop: bool = False) -> None:
        self._clips, name = _chosen(recording)
        self._dims: Dims = dims
        self._loop = loop
        self._pacer = Pacer(rate, stop)
        self._closed = False
        self.unit: Unit = "px" if dims == "2d" else "cm"
        view = f", {OrthographicFront.label}" if dims == "2d" else ""
        frames = sum(len(clip.joints) for clip in self._clips)
        clips = f"{len(self._clips)} clips, " if len(self._clips) > 1 else ""
        self.label = f"joints {name}, {clips}{frames} frames at {self._clips[0].fps:g} fps{view}"

    @property
    def counts(self) -> dict[str, int]:
        """Always empty: nothing is left out."""
        return {}

    def close(self) -> None:
        """End the replay. No file is held open."""
        self._closed = True

    def __iter__(self) -> Iterator[PoseFrame]:
        """Yield the frames, the time of the first being 0."""
        start, first = 0.0, True
        while first or self._loop:
            for track, clip in enumerate(self._clips):
                for time, people in shots_of(clip, self._dims, track):
                    captured_ns = None if self._closed else self._pacer.wait(start + time)
                    if captured_ns is None:
                        return
                    yield PoseFrame(people, start + time, captured_ns)
                start += len(clip.joints) / clip.fps + LOOP_GAP
            first = False


def _chosen(recording: str) -> tuple[list[Clip], str]:
    """Return the clips that are meant and what to call them."""
    file, colon, which = recording.rpartition(":")
    if not colon or Path(recording).is_file():
        return clips_of(Path(recording)), Path(recording).name
    clips = clips_of(Path(file))
    names = [clip.name for clip in clips]
    if which in names:
        return [clips[names.index(which)]], f"{Path(file).name}:{which}"
    if not which.isdecimal() or int(which) >= len(clips):
        some = f", such as {names[0]}" if names[0] else ""
        raise SourceError(f"no clip {which!r} in {file}: give a number from 0 to {len(clips) - 1} or a name{some}")
    return [clips[int(which)]], f"{Path(file).name}:{names[int(which)] or which}"
