"""Recordings in the archives that people keep them in."""

import shutil
from pathlib import Path

import pytest

from panoptic_samples import replay, ten_frames, write
from stream.errors import SourceError
from stream.motion.panoptic import POSES


@pytest.mark.parametrize("suffix", [".tar.bz2", ".tar.xz", ".zip"])
@pytest.mark.parametrize("beside", [False, True])
def test_compressed_archives_are_read(tmp_path: Path, suffix: str, beside: bool) -> None:
    frames = dict(ten_frames())
    sequence = write(tmp_path / "seq", frames)
    there = replay(sequence)
    away = tmp_path / "away" / "seq"
    away.mkdir(parents=True)
    archive = away / f"{POSES}{suffix}"
    form = {".tar.bz2": "bztar", ".tar.xz": "xztar", ".zip": "zip"}[suffix]
    made = shutil.make_archive(str(tmp_path / "made"), form, sequence, POSES)
    Path(made).rename(archive)
    found = replay(away if beside else archive)
    assert [(frame.time, frame.people.keys()) for frame in found] == [
        (frame.time, frame.people.keys()) for frame in there
    ]


@pytest.mark.parametrize("suffix", [".tar.bz2", ".tar.xz", ".zip"])
def test_a_compressed_archive_that_breaks_off_says_so(tmp_path: Path, suffix: str) -> None:
    sequence = write(tmp_path / "seq", dict(ten_frames()))
    form = {".tar.bz2": "bztar", ".tar.xz": "xztar", ".zip": "zip"}[suffix]
    archive = Path(shutil.make_archive(str(tmp_path / "made"), form, sequence, POSES))
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(SourceError, match=r"break|incomplete"):
        replay(archive)


@pytest.mark.parametrize(("head", "name"), [(b"7z\xbc\xaf\x27\x1c", "7-Zip"), (b"Rar!", "RAR")])
def test_other_archives_are_named(tmp_path: Path, head: bytes, name: str) -> None:
    (tmp_path / "seq.7z").write_bytes(head + bytes(1000))
    with pytest.raises(SourceError, match=f"is a {name} archive: unpack it"):
        replay(tmp_path / "seq.7z")
