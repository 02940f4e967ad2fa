"""Finds and reads the files of a CMU Panoptic recording, in a folder or straight from an archive."""

import lzma
import os
import re
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from stream.errors import SourceError
from stream.motion.archive import is_unpacked_here, kind_of, opener, unpack

POSES = "hdPose3d_stage1_coco19"
"""The folder, and the stem of the tar, that hold the poses of a sequence."""

EXPECTED = (
    f"expected a sequence folder with {POSES}/body3DScene_00000000.json and so on in it, "
    f"that folder itself, or {POSES}.tar (.gz, .bz2, .xz) or .zip"
)

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip")
"""How the name of a packed sequence ends."""

MAX_FILE_BYTES = 1 << 20
"""A larger file is not ours and is not read; a frame of 16 people has 30 kB, a calibration 250 kB."""

_FRAME = re.compile(r"body3DScene_(\d{8,15})\.json")
_CALIBRATION = re.compile(r"calibration_.*\.json")
_BLOCK = 512  # of a tar

_Folder = tuple[str, ...]
_Where = TypeVar("_Where")


class Recording(ABC):
    """The files of one sequence. Holds no file open but for a zip.

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
        return path.name.endswith(ARCHIVES)
    if (path / POSES).is_dir() or any((path / (POSES + suffix)).is_file() for suffix in ARCHIVES):
        return True
    return path.is_dir() and any(path.glob("body3DScene_*.json"))


def open_recording(path: Path) -> Recording:
    """Open a sequence folder, a folder of poses, a tar or a zip. Raises SourceError when it is none of these."""
    given = path
    path = path.resolve() if ".." in path.parts else path.absolute()  # for the names of the folders
    try:
        if path.is_dir():
            for folder in (path / POSES, path):
                if folder.is_dir() and (numbers := _numbers_in(folder)):
                    return _FolderRecording(folder, numbers)
            for suffix in ARCHIVES:
                if (archive := path / (POSES + suffix)).is_file():
                    return _in_archive(archive)
        elif path.is_file():
            return _in_archive(path)
        elif not path.exists():
            raise SourceError(f"no such file or folder: {given}")
    except OSError as error:
        raise SourceError(f"cannot read {given}: {error.strerror or error}") from error
    raise SourceError(f"{given} is not a Panoptic sequence: {EXPECTED}")


def _in_archive(path: Path) -> Recording:
    kind = kind_of(path)
    if kind == "zip":
        return _ZipRecording(path)
    if kind and not is_unpacked_here(kind):
        raise SourceError(f"{path} is a {kind} archive: unpack it, or give a .tar, .tar.gz, .tar.bz2, .tar.xz or .zip")
    return _TarRecording(path, kind)


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

    frames: dict[_Folder, dict[int, _Place]]
    calibration: _Place | None
    cut: str | None


class _TarRecording(Recording):
    """Reads frames from where they lie in the tar; paths in the tar are compared, never opened.

    A compressed tar cannot be read at random, so it is unpacked into memory.
    """

    def __init__(self, path: Path, compression: str | None) -> None:
        damage: str | None = None
        self._open: Callable[[], BinaryIO] = lambda: path.open("rb")
        if compression:
            content, damage = unpack(path, compression)
            self._open = opener(content)
        index = _index(self._open)
        self.cut = damage or index.cut

        folder, self._places = _the_poses(path, index.frames, self.cut)
        name = _sequence_in(path, folder)
        inside = index.calibration
        calibration = self._content(inside) if inside else _calibration_in(path.parent, name)
        super().__init__(name, sorted(self._places), calibration)

    def read(self, number: int) -> bytes:
        return self._content(self._places[number])

    def _content(self, place: _Place) -> bytes:
        with self._open() as file:
            file.seek(place.offset)
            return _read(file, place.size)


class _ZipRecording(Recording):
    """Reads frames from a zip by the names of its members; none is unpacked to disk.

    The zip stays open: to read its list again for every frame would take longer than the frame.
    """

    def __init__(self, path: Path) -> None:
        frames: dict[_Folder, dict[int, str]] = defaultdict(dict)
        inside: str | None = None
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise SourceError(f"{path} is damaged or incomplete ({error}): download it again") from error
        for member in self._archive.infolist():
            *above, name = _parts(member.filename)
            if (number := _frame_number(name)) is not None:
                frames[tuple(above)][number] = member.filename
            elif _CALIBRATION.fullmatch(name) and member.file_size <= MAX_FILE_BYTES:
                inside = member.filename
        folder, self._names = _the_poses(path, frames, None)
        name = _sequence_in(path, folder)
        calibration = self._content(inside) if inside else _calibration_in(path.parent, name)
        super().__init__(name, sorted(self._names), calibration)

    def read(self, number: int) -> bytes:
        return self._content(self._names[number])

    def _content(self, name: str) -> bytes:
        try:
            with self._archive.open(name) as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, NotImplementedError) as error:
            raise ValueError(str(error)) from error
        if len(content) > MAX_FILE_BYTES:
            raise ValueError(f"larger than {MAX_FILE_BYTES} bytes")
        return content


def _parts(name: str) -> list[str]:
    """Return the folders and the name of what an archive holds."""
    return [part for part in name.split("/") if part not in ("", ".")] or [""]


def _sequence_in(path: Path, folder: _Folder) -> str:
    """Return the name of the sequence whose poses lie in a folder of an archive."""
    stem = path.name.split(".")[0]
    return folder[-2] if len(folder) > 1 else (path.parent.name if stem == POSES else stem)


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


def _index(opened: Callable[[], BinaryIO]) -> _Index:
    frames: dict[_Folder, dict[int, _Place]] = defaultdict(dict)
    calibration: _Place | None = None
    end, last = 0, "its start"
    with opened() as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for member in archive:
                    place = _Place(member.offset_data, member.size)
                    *folder, name = _parts(member.name)
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
            where = f"damaged after {last}" if frames else "not a tar, or damaged"
            return _Index(frames, calibration, f"it is {where}: {error}")
        file.seek(end)
        # tarfile takes a damaged header for the end; the true end is a block of zeros.
        whole = file.read(_BLOCK) == bytes(_BLOCK)
    return _Index(frames, calibration, None if whole else f"it breaks off after {last}")


def _the_poses(
    path: Path, frames: dict[_Folder, dict[int, _Where]], cut: str | None
) -> tuple[_Folder, dict[int, _Where]]:
    """The one folder of an archive that holds the poses."""
    named = {folder: places for folder, places in frames.items() if folder and folder[-1] == POSES}
    found = named or frames
    if len(found) > 1:
        some = ", ".join(repr("/".join(folder)) for folder in sorted(found)[:3])
        raise SourceError(f"{path} holds several sequences ({some}): unpack it and give one of them")
    if not found:
        raise SourceError(f"{path} is not a Panoptic sequence ({cut or 'no poses in it'}): {EXPECTED}")
    return next(iter(found.items()))
