"""One way to all recordings: npz files, folders of them, Panoptic sequences and folders or tars of those.

What is read once is kept as memory-mapped arrays in the user's cache (`motion` in it, which can be deleted: it is made
again), so that the next start reads no more than what windows are drawn from.
"""

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from engine.cache import cache_folder
from engine.errors import KinetokenError
from stream.motion.clips import Clip, read_npz
from stream.motion.panoptic import POSES, is_sequence, open_recording
from training.data.panoptic import TRAIN, VALIDATION, cameras_of, read_sequence

__all__ = ["Clip", "MotionDataset", "read_clips", "recordings_at"]

FORM = 2
"""Rises when the same file would be read otherwise, so that nobody goes on with what was kept before."""

LISTS = {"train": TRAIN, "validation": VALIDATION}

_log = logging.getLogger(__name__)


class _Entry(msgspec.Struct):
    name: str
    stop: int  # first frame after the clip; it begins where the one before ends
    fps: float
    content: str


@dataclass
class MotionDataset:
    """Clips of all recordings under a path, and what could not be read.

    faults: a line for every file that was left out: its name and why.
    """

    clips: list[Clip] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path, cache: Path | None = None) -> "MotionDataset":
        """Read an npz file, a folder of npz files, a Panoptic sequence (folder or tar) or a folder of sequences.

        A folder of sequences with `@train` or `@validation` behind its name gives those of the paper's list. cache:
        folder of the memory-mapped arrays, by default the user's.

        Raises FileNotFoundError where there is nothing to read and ValueError where nothing of it can be read.
        """
        dataset = cls()
        files = list(recordings_at(path))
        for file in files:
            try:
                dataset.clips += _kept(file, cache)
            except (OSError, ValueError, KinetokenError) as error:
                reason = str(error).removeprefix(f"{file}: ")
                dataset.faults.append(f"{file}: {reason}")
                _log.warning("left out %s", dataset.faults[-1])
        if dataset.faults:
            _log.warning("left out %d of %d files at %s", len(dataset.faults), len(files), path)
        if not dataset.clips:
            first = dataset.faults[0] if dataset.faults else "they hold no motion"
            raise ValueError(f"none of the {len(files)} recordings at {path} can be read: {first}")
        return dataset


def read_clips(path: Path) -> list[Clip]:
    """Return the clips of `MotionDataset.read`."""
    return MotionDataset.read(path).clips


def recordings_at(path: Path) -> Iterator[Path]:
    """Yield every npz file and Panoptic sequence at a path, by name; see `MotionDataset.read` for what it may be.

    Raises FileNotFoundError where there is none.
    """
    base, _, listed = path.name.rpartition("@")
    folder = path.with_name(base) if listed in LISTS and base and not path.exists() else path
    if folder.is_file() or is_sequence(folder):
        found = [folder]
    elif folder.is_dir():
        inside = sorted(folder.iterdir())
        found = [file for file in inside if file.suffix == ".npz"]
        found += [file for file in inside if is_sequence(file)]
    else:
        found = []
    if folder is not path:
        found = [file for file in found if file.name.split(".")[0] in LISTS[listed]]
    if not found:
        raise FileNotFoundError(f"no npz recordings at {path}, and no Panoptic sequence")
    yield from found


def _kept(file: Path, cache: Path | None) -> list[Clip]:
    """Return a file's clips from the cache, which is filled first where they are not in it."""
    key = _key(file)
    with suppress(OSError, ValueError, msgspec.MsgspecError):  # not there, or damaged: read it and keep it anew
        return _load((cache or cache_folder("motion")) / key)
    clips, calibration = _read(file)
    try:
        kept = (cache or cache_folder("motion")) / key
        _keep(clips, calibration, kept)
        return _load(kept)
    except OSError as error:
        _log.warning(
            "cannot cache %s (%s): it will be read again each time. Set KINETOKEN_CACHE to a writable folder",
            file,
            error,
        )
    return clips


def _read(file: Path) -> tuple[list[Clip], bytes | None]:
    """Return a recording's clips and its cameras' calibration."""
    if file.suffix == ".npz":
        clips, calibration = read_npz(file), None
    else:
        clips, calibration = read_sequence(file), open_recording(file).calibration
    if not clips:
        raise ValueError("holds no motion")
    return clips, calibration


def _load(kept: Path) -> list[Clip]:
    entries = msgspec.json.decode((kept / "clips.json").read_bytes(), type=list[_Entry])
    joints = np.asarray(np.load(kept / "joints.npy", mmap_mode="r"))
    # Where every joint is known there is nothing to say of it.
    measured = np.asarray(np.load(kept / "measured.npy", mmap_mode="r")) if (kept / "measured.npy").exists() else None
    calibration = kept / "calibration.json"
    cameras = cameras_of(calibration.read_bytes()) if calibration.exists() else ()
    clips, start = [], 0
    for entry in entries:
        part = slice(start, entry.stop)
        mask = None if measured is None else measured[part]
        clips.append(Clip(entry.name, joints[part], entry.fps, mask, entry.content, cameras))
        start = entry.stop
    return clips


def _is_sound(kept: Path) -> bool:
    try:
        _load(kept)
    except (OSError, ValueError, msgspec.MsgspecError):
        return False
    return True


def _keep(clips: list[Clip], calibration: bytes | None, kept: Path) -> None:
    """Write clips as arrays, whole or not at all."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=kept.parent, suffix=".part"))
    try:
        stops = np.cumsum([len(clip.joints) for clip in clips]).tolist()
        entries = [_Entry(clip.name, stop, clip.fps, clip.content) for clip, stop in zip(clips, stops, strict=True)]
        (scratch / "clips.json").write_bytes(msgspec.json.encode(entries))
        np.save(scratch / "joints.npy", np.concatenate([clip.joints for clip in clips]))
        if calibration is not None:
            (scratch / "calibration.json").write_bytes(calibration)
        if any(clip.measured is not None for clip in clips):
            np.save(scratch / "measured.npy", np.concatenate([clip.known() for clip in clips]))
        try:
            scratch.replace(kept)
        except OSError:
            # Another process was faster, with the same, and may be reading it; only what is damaged has to go.
            if not _is_sound(kept):
                shutil.rmtree(kept, ignore_errors=True)
                scratch.replace(kept)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _key(file: Path) -> str:
    """Return what names a recording's content: an npz file's own hash, the names, sizes and times of a sequence's."""
    digest = hashlib.sha256(f"form {FORM}\n{file.name}\n".encode())
    if file.suffix == ".npz":
        digest.update(file.read_bytes())
    else:
        for part in _parts(file):
            stat = part.stat()
            digest.update(f"{part.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def _parts(path: Path) -> list[Path]:
    """Return the files of a sequence: the tar, or what lies in its folder and in that of the poses."""
    if path.is_file():
        return [path]
    inside = [path, path / POSES] if (path / POSES).is_dir() else [path]
    return sorted(file for folder in inside for file in folder.iterdir() if file.is_file())
