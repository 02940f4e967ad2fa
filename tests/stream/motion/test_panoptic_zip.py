"""Recordings in zips: whole, cut and damaged."""

import io
import json
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panoptic_samples import assert_same, replay, scene, source, standing, ten_frames, write
from stream.errors import SourceError
from stream.motion.panoptic import POSES, frame_name


def pack(sequence: Path, archive: Path) -> Path:
    """Put the poses of a sequence into a zip."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for file in sorted((sequence / POSES).iterdir()):
            zipped.write(file, file.name)
    return archive


def test_the_calibration_may_lie_in_the_zip(tmp_path: Path) -> None:
    sequence = write(tmp_path / "seq", ten_frames())
    made = shutil.make_archive(str(tmp_path / "all"), "zip", tmp_path, "seq")
    replayed = source(Path(made).rename(tmp_path / "elsewhere.zip"), "2d", camera="00_09")
    assert "camera 00_09" in replayed.label
    assert_same(list(replayed), replay(sequence, "2d", camera="00_09"))


def test_a_zip_that_is_cut_is_named(tmp_path: Path) -> None:
    whole = pack(write(tmp_path / "seq", ten_frames()), tmp_path / "cut.zip")
    whole.write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(SourceError, match=r"cut\.zip is damaged or incomplete .*: download it again"):
        source(whole)


def test_a_frame_that_is_damaged_in_a_zip_is_left_out_and_counted(tmp_path: Path) -> None:
    sequence = write(tmp_path / "seq", ten_frames())
    archive = pack(sequence, tmp_path / "poses.zip")
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as zipped:
        content[zipped.infolist()[4].header_offset + 200] ^= 255
    archive.write_bytes(content)
    replayed = source(archive)
    assert len(list(replayed)) == 9
    assert replayed.counts == {"frames unreadable": 1}


def test_a_zip_that_asks_for_a_password_says_so(tmp_path: Path) -> None:
    archive = pack(write(tmp_path / "seq", ten_frames()), tmp_path / "poses.zip")
    content = bytearray(archive.read_bytes())
    at = 0
    while (at := content.find(b"PK\x01\x02", at)) >= 0:  # the files in the list
        content[at + 8] |= 1
        at += 4
    archive.write_bytes(content)
    with pytest.raises(SourceError, match=r"none of the 10 frames .* is encrypted"):
        replay(archive)


def test_a_zip_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replayed = source(pack(write(tmp_path / "seq", ten_frames()), tmp_path / "poses.zip"))
    monkeypatch.delattr(zipfile.ZipFile, "_RealGetContents")
    assert len(list(replayed)) == 10


@settings(max_examples=150, derandomize=True)
@given(data=st.data())
def test_a_damaged_zip_never_breaks_the_reader(data: st.DataObject, tmp_path_factory: Any) -> None:
    tmp_path = tmp_path_factory.mktemp("damaged")
    small = json.dumps(scene((0, standing()))).encode()
    kind = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", kind) as archive:
        for number in range(3):
            archive.writestr(frame_name(number), small)
    content = bytearray(packed.getvalue())
    for at, byte in data.draw(st.lists(st.tuples(st.integers(-300, 6000), st.integers(0, 255)), max_size=8)):
        content[at % len(content)] = byte
    path = tmp_path / "whole.zip"
    path.write_bytes(b"PK" + content[2:])
    with suppress(SourceError):
        assert len(replay(path)) <= 3
