"""Recordings on the disk: which there are, and the frames of each."""

import os
import re
import threading
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import chain, count
from pathlib import Path
from typing import Literal

import av
import numpy as np

from engine.picture_network import PictureNetwork
from stream.errors import SourceError
from stream.motion.panoptic import ARCHIVES, is_sequence, open_recording
from stream.motion.projection import Dims
from stream.pose.choice import PeopleFinder
from stream.sources.base import PoseFrame, PoseSource, Unit
from stream.sources.joints import clips_of, shots_of
from stream.sources.panoptic import PanopticSource

Kind = Literal["joints", "panoptic", "video"]

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
"""What is taken for a video in a folder; a file that is named may end as it likes."""

USUAL_FRAMES = 1000
"""What the progress bar counts for a file that does not say how long it is."""


@dataclass(frozen=True)
class Input:
    """A file or a Panoptic sequence. name: its path without its ending, below the folder that was given."""

    path: Path
    name: str
    kind: Kind

    @property
    def stream(self) -> str:
        """What names a stream on the wire, made of the input's name."""
        return stream_name(Path(self.name).name)


@dataclass(frozen=True)
class Recording:
    """Frames of people that belong together, and the name of their stream."""

    stream: str
    unit: Unit
    frames: Iterable[PoseFrame]


def find_inputs(paths: Sequence[Path], without: Path) -> list[Input]:
    """Return what there is to read at these paths, folders searched to any depth but for the one `without`.

    Raises SourceError for a path that is not there or holds nothing, and where two inputs have one name.
    """
    found: list[Input] = []
    for path in paths:
        if not path.exists():
            raise SourceError(f"no file or folder {path}: check the path")
        path = path.absolute()
        inside = [_input(path, path.parent)] if _is_one(path) else list(_search(path, path, without))
        if not inside:
            raise SourceError(
                f"nothing to read in {path}: expected videos, npz recordings, Panoptic sequences or tars of these"
            )
        found += inside
    names = Counter(each.name for each in found)
    if twice := [each for each in found if names[each.name] > 1]:
        told = " and ".join(str(each.path) for each in twice if each.name == twice[0].name)
        raise SourceError(f"{told} would be written to the same file: give them one at a time, each its own --out")
    return found


def stream_name(text: str) -> str:
    """Return a text as a stream may be called: letters, digits, '.', '_' and '-', at most 64."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip("._-")[:64] or "recording"


def frames_in(given: Input) -> int:
    """Return how many frames an input has, as far as it says so itself."""
    try:
        if given.kind == "joints":
            with zipfile.ZipFile(given.path) as archive, archive.open("joints.npy") as file:
                np.lib.format.read_magic(file)
                shape, _, _ = np.lib.format.read_array_header_1_0(file)
                return int(shape[0])
        if given.kind == "panoptic":
            return len(open_recording(given.path).numbers)
        with av.open(str(given.path)) as video:
            return video.streams.video[0].frames or USUAL_FRAMES
    except Exception:  # whatever is wrong with it is said when it is read
        return USUAL_FRAMES


def open_input(given: Input, dims: Dims, people: PeopleFinder) -> list[Recording]:
    """Return an input's recordings: one for each clip of an npz file, else one. Raises SourceError, PoseModelError.

    What goes wrong later is raised when the frames are taken.
    """
    if given.kind == "joints":
        clips = clips_of(given.path)
        names = [given.stream] if len(clips) == 1 else _distinct([clip.name or given.stream for clip in clips])
        unit: Unit = "px" if dims == "2d" else "cm"
        return [
            Recording(name, unit, [PoseFrame(people, time, round(time * 1e9)) for time, people in shots_of(clip, dims)])
            for name, clip in zip(names, clips, strict=True)
        ]
    source: PoseSource
    if given.kind == "panoptic":
        source = PanopticSource(given.path, dims, "max", threading.Event())
    else:
        from stream.pose.source import open_vision  # not needed for joints

        source = open_vision(
            str(given.path),
            dims,
            rate="max",
            stop=threading.Event(),
            max_persons=people.max_persons,
            pose=people.pose,
            pose_size=people.size,
            pose_model=people.model,
            fps=people.fps,
            network=_network,
        )
    return [Recording(given.stream, source.unit, _closed_after(source))]


@cache
def _network() -> PictureNetwork:
    """Open MoveNet's network once for all videos, which are read one after the other."""
    from stream.pose.movenet import open_network  # not needed for joints

    return open_network()


def _closed_after(source: PoseSource) -> Iterator[PoseFrame]:
    """Yield a source's frames, timed by its own clock, and close it."""
    with closing(source):
        for frame in source:
            yield PoseFrame(frame.people, frame.time, round(frame.time * 1e9))


def _is_one(path: Path) -> bool:
    """Whether this is one input, not a folder of them."""
    return path.is_file() or is_sequence(path)


def _search(folder: Path, root: Path, without: Path) -> Iterator[Input]:
    for path in sorted(Path(entry.path) for entry in os.scandir(folder)):
        if path.resolve() == without.resolve():
            continue
        if path.is_dir() and not is_sequence(path):
            yield from _search(path, root, without)
        elif path.is_dir() or path.name.lower().endswith((".npz", *ARCHIVES, *VIDEOS)):
            yield _input(path, root)


def _input(path: Path, root: Path) -> Input:
    name = path.relative_to(root).as_posix() if path != root else path.name
    if path.is_dir():
        return Input(path, name, "panoptic")
    ending = next((end for end in (".npz", *ARCHIVES) if name.lower().endswith(end)), path.suffix)
    kind: Kind = "joints" if ending == ".npz" else "panoptic" if ending in ARCHIVES else "video"
    return Input(path, name[: len(name) - len(ending)] if ending else name, kind)


def _distinct(names: Sequence[str]) -> list[str]:
    """Return names for streams, each once: the second "walk" is "walk-2"."""
    distinct: dict[str, None] = {}
    for name in map(stream_name, names):
        numbered = (f"{name[:56]}-{number}" for number in count(2))
        distinct[next(each for each in chain([name], numbered) if each not in distinct)] = None
    return list(distinct)
