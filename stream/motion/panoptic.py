"""Finds and reads the files of a CMU Panoptic recording, in a folder or straight from the dataset's tar."""

import gzip
import io
import os
import re
import tarfile
import zlib
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from stream.errors import SourceError

POSES = "hdPose3d_stage1_coco19"
"""The folder, and the stem of the tar, that hold the poses of a sequence."""

EXPECTED = (
    f"expected a sequence folder with {POSES}/body3DScene_00000000.json and so on in it, "
    f"that folder itself, or {POSES}.tar"
)

TARS = (".tar", ".tar.gz", ".tgz")
"""How the name of a packed sequence ends."""

MAX_FILE_BYTES = 1 << 20
"""A larger file is none of ours and is not read; a frame of 16 people has 30 kB, a calibration 250 kB."""

MAX_UNPACKED_BYTES = 1 << 30
"""A compressed tar larger than this unpacked (three people for hours) is refused."""

_FRAME = re.compile(r"body3DScene_(\d{8,15})\.json")
_CALIBRATION = re.compile(r"calibration_.*\.json")
_BLOCK = 512  # of a tar


class Recording(ABC):
    """The files of one sequence. Holds no file open.

    name: of the sequence. numbers: of the frames that are there, rising. cut: where and why the files
    break off, None when they are whole. calibration: content of the calibration file, None without one.
    """

    cut: str | None = None

    def __init__(self, name: str, numbers: list[int], calibration: bytes | None) -> None:
        self.name = name
        self.numbers = numbers
        self.calibration = calibration

    @abstractmethod
    def read(self, number: int) -> bytes:
        """The content of a frame; OSError or ValueError, with the reason, when it cannot be read."""


def frame_name(number: int) -> str:
    """The file name of a frame."""
    return f"body3DScene_{number:08d}.json"


def is_sequence(path: Path) -> bool:
    """Whether this looks like something that `open_recording` opens; nothing of it is read."""
    if path.is_file():
        return path.name.endswith(TARS)
    if (path / POSES).is_dir() or any((path / (POSES + suffix)).is_file() for suffix in TARS):
        return True
    return path.is_dir() and any(path.glob("body3DScene_*.json"))


def open_recording(path: Path) -> Recording:
    """Open a sequence folder, a folder of poses, or a tar. Raises SourceError when it is none of these."""
    given = path
    path = path.resolve() if ".." in path.parts else path.absolute()  # for the names of the folders
    try:
        if path.is_dir():
            for folder in (path / POSES, path):
                if folder.is_dir() and (numbers := _numbers_in(folder)):
                    return _FolderRecording(folder, numbers)
            for suffix in TARS:
                if (archive := path / (POSES + suffix)).is_file():
                    return _TarRecording(archive)
        elif path.is_file():
            return _TarRecording(path)
        elif not path.exists():
            raise SourceError(f"no such file or folder: {given}")
    except OSError as error:
        raise SourceError(f"cannot read {given}: {error.strerror or error}") from error
    raise SourceError(f"{given} is no Panoptic sequence: {EXPECTED}")


class _FolderRecording(Recording):
    def __init__(self, folder: Path, numbers: list[int]) -> None:
        self._folder = folder
        sequence = folder.parent if folder.name == POSES else folder
        super().__init__(sequence.name, numbers, _calibration_in(sequence, sequence.name))

    def read(self, number: int) -> bytes:
        with (self._folder / frame_name(number)).open("rb") as file:
            return _read(file, os.fstat(file.fileno()).st_size)


class _Place(NamedTuple):
    """Where in a tar a file's content lies."""

    offset: int
    size: int


class _Index(NamedTuple):
    """What a tar holds: frames by folder and number, the calibration, and why the tar breaks off."""

    frames: dict[tuple[str, ...], dict[int, _Place]]
    calibration: _Place | None
    cut: str | None


class _TarRecording(Recording):
    """Reads frames from where they lie in the tar; paths in the tar are compared, never opened.

    A compressed tar cannot be read at random, so it is unpacked into memory.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
        damage: str | None = None
        self._open: Callable[[], BinaryIO]
        if compressed:
            content, damage = _unpack(path)
            self._open = lambda: io.BytesIO(content)
        else:
            self._open = lambda: path.open("rb")
        index = _index(self._open)
        self.cut = damage or index.cut

        folder, self._places = _the_poses(path, index.frames, self.cut)
        stem = path.name.split(".")[0]
        name = folder[-2] if len(folder) > 1 else (path.parent.name if stem == POSES else stem)
        inside = index.calibration
        calibration = self._content(inside) if inside else _calibration_in(path.parent, name)
        super().__init__(name, sorted(self._places), calibration)

    def read(self, number: int) -> bytes:
        return self._content(self._places[number])

    def _content(self, place: _Place) -> bytes:
        with self._open() as file:
            file.seek(place.offset)
            return _read(file, place.size)


def _numbers_in(folder: Path) -> list[int]:
    with os.scandir(folder) as entries:
        return sorted(n for e in entries if (n := _frame_number(e.name)) is not None and e.is_file())


def _frame_number(name: str) -> int | None:
    match = _FRAME.fullmatch(name)
    return int(match[1]) if match and frame_name(int(match[1])) == name else None


def _read(file: BinaryIO, size: int) -> bytes:
    if size > MAX_FILE_BYTES:
        raise ValueError(f"larger than {MAX_FILE_BYTES} bytes")
    return file.read(size)


def _calibration_in(folder: Path, sequence: str) -> bytes | None:
    """The calibration of the sequence, else the only one in the folder: a wrong one is worse than none."""
    path = folder / f"calibration_{sequence}.json"
    if not path.is_file():
        others = list(folder.glob("calibration_*.json"))
        if len(others) != 1:
            return None
        path = others[0]
    return path.read_bytes()


def _unpack(path: Path) -> tuple[bytes, str | None]:
    """The content of a gzip file as far as it goes, and why it breaks off."""
    content = io.BytesIO()
    damage: str | None = None
    try:
        with gzip.open(path) as file:
            while chunk := file.read1():  # gives all there is before a break
                content.write(chunk)
                if content.tell() > MAX_UNPACKED_BYTES:
                    raise SourceError(f"{path} is too large to be read compressed: gunzip it first")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        damage = f"its compressed data break off ({error})"
    return content.getvalue(), damage


def _index(opened: Callable[[], BinaryIO]) -> _Index:
    frames: dict[tuple[str, ...], dict[int, _Place]] = defaultdict(dict)
    calibration: _Place | None = None
    end, last = 0, "its start"
    with opened() as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for member in archive:
                    place = _Place(member.offset_data, member.size)
                    *folder, name = [part for part in member.name.split("/") if part not in ("", ".")] or [""]
                    end = place.offset + (-(-place.size // _BLOCK) * _BLOCK if member.isreg() else 0)
                    if not 0 <= place.size <= size - place.offset:
                        return _Index(frames, calibration, f"it breaks off after {last}")
                    if not member.isreg() or member.issparse():
                        continue
                    if (number := _frame_number(name)) is not None:
                        frames[tuple(folder)][number] = place
                        last = name
                    elif _CALIBRATION.fullmatch(name) and place.size <= MAX_FILE_BYTES:
                        calibration = place
        except tarfile.TarError as error:
            where = f"damaged after {last}" if frames else "no tar, or damaged"
            return _Index(frames, calibration, f"it is {where}: {error}")
        file.seek(end)
        # tarfile takes a damaged header for the end; the true end is a block of zeros.
        whole = file.read(_BLOCK) == bytes(_BLOCK)
    return _Index(frames, calibration, None if whole else f"it breaks off after {last}")


def _the_poses(
    path: Path, frames: dict[tuple[str, ...], dict[int, _Place]], cut: str | None
) -> tuple[tuple[str, ...], dict[int, _Place]]:
    """The one folder of a tar that holds the poses."""
    named = {folder: places for folder, places in frames.items() if folder and folder[-1] == POSES}
    found = named or frames
    if len(found) > 1:
        some = ", ".join(repr("/".join(folder)) for folder in sorted(found)[:3])
        raise SourceError(f"{path} holds several sequences ({some}): unpack it and give one of them")
    if not found:
        raise SourceError(f"{path} is no Panoptic sequence ({cut or 'no poses in it'}): {EXPECTED}")
    return next(iter(found.items()))
