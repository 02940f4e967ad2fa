"""Recordings as they lie on disk: folders, tars of every layout, damaged and hostile ones."""

import gzip
import io
import json
import re
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panoptic_samples import assert_same, pack, replay, replay_to_failure, scene, source, standing, ten_frames, write
from stream.errors import SourceError
from stream.motion.panoptic import POSES, frame_name


def test_a_real_recording_is_the_same_from_a_tar(shared: Path, tmp_path: Path) -> None:
    band = shared / "data/panoptic/160906_band1"
    tar = pack(band, tmp_path / f"{POSES}.tar", lambda f: f"{POSES}/{f.name}", order=-1)
    assert_same(replay(tar), replay(band))


@pytest.mark.parametrize("given", ["", POSES])
def test_a_folder_may_be_the_sequence_or_its_poses(tmp_path: Path, given: str) -> None:
    sequence = write(tmp_path / "seq", ten_frames())
    replayed = source(sequence / given, "2d")
    assert "seq" in replayed.label
    assert "camera 00_03" in replayed.label
    assert len(list(replayed)) == 10
    assert replayed.counts == {}


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz"])
@pytest.mark.parametrize("prefix", ["", "./", f"{POSES}/", f"./{POSES}/", f"some_seq/{POSES}/"])
def test_a_tar_is_read_whatever_its_layout(tmp_path: Path, suffix: str, prefix: str) -> None:
    sequence = write(tmp_path / "seq", ten_frames())
    tar = pack(sequence, sequence / f"{POSES}{suffix}", lambda f: prefix + f.name, order=-1)
    replayed = source(tar, "2d")
    assert "camera 00_03" in replayed.label
    assert_same(list(replayed), replay(sequence, "2d"))


def test_a_sequence_folder_whose_tar_was_never_unpacked(tmp_path: Path) -> None:
    sequence = write(tmp_path / "seq", ten_frames())
    pack(sequence, sequence / f"{POSES}.tar", lambda f: f"{POSES}/{f.name}")
    whole = replay(sequence, "2d")
    for file in (sequence / POSES).iterdir():
        file.unlink()
    (sequence / POSES).rmdir()
    assert_same(replay(sequence, "2d"), whole)


def test_the_calibration_may_lie_in_the_tar(tmp_path: Path) -> None:
    sequence = write(tmp_path / "seq", ten_frames())
    tar = tmp_path / "elsewhere" / "all.tar"
    tar.parent.mkdir()
    with tarfile.open(tar, "w") as archive:
        archive.add(sequence, "seq")
    assert "camera 00_09" in source(tar, "2d", camera="00_09").label


def test_other_data_and_odd_members_of_a_tar_are_passed_over(tmp_path: Path) -> None:
    frame = json.dumps(scene((0, standing()))).encode()
    tar = tmp_path / "odd.tar"
    with tarfile.open(tar, "w") as archive:
        for name in (
            f"seq/{POSES}/{frame_name(0)}",
            f"../../{POSES}/{frame_name(1)}",
            f"seq/hdPose3d_stage1/{frame_name(2)}",
            f"seq/{POSES}/._{frame_name(3)}",
            f"seq/{POSES}/body3DScene_4.json",
        ):
            member = tarfile.TarInfo(name)
            member.size = len(frame)
            archive.addfile(member, io.BytesIO(frame))
        link = tarfile.TarInfo(f"seq/{POSES}/{frame_name(5)}")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(SourceError, match=r"several sequences \('\.\./\.\./hdPose3d"):
        replay(tar)

    other = tmp_path / "fine.tar"
    with tarfile.open(tar) as old, tarfile.open(other, "w") as new:
        for member in old:
            if ".." not in member.name:
                new.addfile(member, old.extractfile(member) if member.isreg() else None)
    assert len(replay(other)) == 1
    assert [f.name for f in tmp_path.iterdir() if f.suffix != ".tar"] == []


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_tar_that_breaks_off_is_replayed_as_far_as_it_goes_then_says_so(tmp_path: Path, suffix: str) -> None:
    sequence = write(tmp_path / "seq", ten_frames())
    tar = pack(sequence, tmp_path / f"cut{suffix}", lambda f: f"{POSES}/{f.name}")
    content = tar.read_bytes()
    tar.write_bytes(content[: len(content) * 4 // 10])
    frames, failure = replay_to_failure(source(tar, loop=True))
    assert re.search(r"incomplete: .* breaks? off", failure)
    assert "download it again" in failure
    assert 2 <= len(frames) < 10
    assert_same(frames, replay(sequence)[: len(frames)])


def test_a_tar_cut_between_two_frames_is_not_taken_for_whole(tmp_path: Path) -> None:
    sequence = write(tmp_path / "seq", ten_frames())
    tar = pack(sequence, tmp_path / "cut.tar", lambda f: f.name)
    with tarfile.open(tar) as archive:
        sixth = archive.getmembers()[5].offset
    tar.write_bytes(tar.read_bytes()[:sixth])
    frames, failure = replay_to_failure(source(tar))
    assert f"breaks off after {frame_name(4)}; the 5 frames" in failure
    assert len(frames) == 5


@settings(max_examples=150, derandomize=True)
@given(data=st.data())
def test_a_damaged_tar_never_breaks_the_reader(data: st.DataObject, tmp_path_factory: Any) -> None:
    tmp_path = tmp_path_factory.mktemp("damaged")
    whole = tmp_path / "whole.tar"
    small = json.dumps(scene((0, standing()))).encode()
    with tarfile.open(whole, "w") as archive:
        for number in range(3):
            member = tarfile.TarInfo(frame_name(number))
            member.size = len(small)
            archive.addfile(member, io.BytesIO(small))
    content = bytearray(whole.read_bytes())
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), max_size=8)):
        content[at % len(content)] = byte
    content = content[: data.draw(st.integers(0, len(content)))]
    packed = data.draw(st.booleans())
    whole.write_bytes(gzip.compress(bytes(content)) if packed else bytes(content))
    with suppress(SourceError):
        assert len(replay(whole)) <= 3


def nothing(tmp_path: Path) -> Path:
    return tmp_path / "absent"


def empty_folder(tmp_path: Path) -> Path:
    return tmp_path


def empty_poses(tmp_path: Path) -> Path:
    return write(tmp_path / "seq", {})


def text_file(tmp_path: Path) -> Path:
    (tmp_path / "poses.tar").write_text("no tar at all\n" * 100, encoding="utf-8")
    return tmp_path / "poses.tar"


def empty_file(tmp_path: Path) -> Path:
    (tmp_path / "poses.tar").touch()
    return tmp_path / "poses.tar"


def tar_of_something_else(tmp_path: Path) -> Path:
    (tmp_path / "notes.txt").write_text("notes", encoding="utf-8")
    with tarfile.open(tmp_path / "notes.tar", "w") as archive:
        archive.add(tmp_path / "notes.txt", "notes.txt")
    return tmp_path / "notes.tar"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (nothing, "no such file or folder"),
        (empty_folder, f"not a Panoptic sequence: expected a sequence folder with {POSES}"),
        (empty_poses, "not a Panoptic sequence"),
        (text_file, r"not a Panoptic sequence \(it is not a tar"),
        (empty_file, r"not a Panoptic sequence \(it is not a tar"),
        (tar_of_something_else, r"not a Panoptic sequence \(no poses in it\)"),
    ],
)
def test_what_is_no_sequence_is_refused_in_one_line(tmp_path: Path, make: Callable[[Path], Path], says: str) -> None:
    with pytest.raises(SourceError, match=says) as caught:
        source(make(tmp_path))
    assert "\n" not in str(caught.value)
