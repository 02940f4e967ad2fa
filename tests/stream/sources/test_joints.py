"""Recordings of joints: the clips of a file as frames, whole or one of them."""

import threading
from pathlib import Path

import numpy as np
import pytest

from motion_samples import walk, write_npz, write_shard
from stream.errors import SourceError
from stream.motion.projection import Dims, OrthographicFront
from stream.sources.base import LOOP_GAP
from stream.sources.joints import JointsSource


def play(recording: str, dims: Dims = "3d", loop: bool = False) -> JointsSource:
    return JointsSource(recording, dims, "max", threading.Event(), loop)


def test_a_file_of_one_clip_is_played_as_it_is(tmp_path: Path) -> None:
    source = play(str(write_npz(tmp_path / "walk.npz", 60)))
    frames = list(source)
    assert source.label == "joints walk.npz, 60 frames at 30 fps"
    assert [frame.time for frame in frames] == [n / 30 for n in range(60)]
    np.testing.assert_array_equal([frame.people[0].joints for frame in frames], walk(60).joints)
    assert all((frame.people[0].confidence == 1).all() for frame in frames)


def test_2d_is_the_view_from_the_front(tmp_path: Path) -> None:
    source = play(str(write_npz(tmp_path / "walk.npz", 9)), "2d")
    joints = np.stack([frame.people[0].joints for frame in source])
    expected, _ = OrthographicFront().project(walk(9).joints.reshape(-1, 3))
    np.testing.assert_array_equal(joints.reshape(-1, 2), expected)
    assert source.unit == "px"
    assert source.label.endswith("orthographic front view")


def test_clips_follow_each_other_as_new_people_or_one_is_chosen(tmp_path: Path) -> None:
    file = write_shard(tmp_path / "shard.npz", ["walk", "walk", "run"], frames=40)
    whole = list(play(str(file)))
    assert [set(frame.people) for frame in whole[::40]] == [{0}, {1}, {2}]
    assert whole[40].time - whole[39].time == pytest.approx(1 / 30 + LOOP_GAP)
    for which in ("2", "clip-2"):
        only = play(f"{file}:{which}")
        assert only.label == "joints shard.npz:clip-2, 40 frames at 30 fps"
        np.testing.assert_array_equal([f.people[0].joints for f in only], [f.people[2].joints for f in whole[80:]])


def test_a_loop_begins_again_after_a_pause(tmp_path: Path) -> None:
    times = []
    source = play(str(write_npz(tmp_path / "walk.npz", 9)), loop=True)
    for frame in source:
        times.append(frame.time)
        if len(times) == 12:
            source.close()
    assert len(times) == 12
    assert times[9] - times[8] == pytest.approx(1 / 30 + LOOP_GAP)


def test_what_cannot_be_played_is_named(tmp_path: Path) -> None:
    file = write_shard(tmp_path / "shard.npz", ["walk", "run"])
    with pytest.raises(SourceError, match=r"no recording .*nothing.npz: check the path"):
        play(str(tmp_path / "nothing.npz"))
    for clip in ("2", "-1", "dance"):
        with pytest.raises(SourceError, match=f"no clip '{clip}' in .*: give a number from 0 to 1 or a name.*clip-0"):
            play(f"{file}:{clip}")
    (tmp_path / "text.npz").write_text("hello", encoding="utf-8")
    with pytest.raises(SourceError, match="is not a recording of joints: "):
        play(str(tmp_path / "text.npz"))
    np.savez(tmp_path / "other.npz", poses=np.zeros(3))
    with pytest.raises(SourceError, match=r"needs the arrays `joints` and `fps`, has \['poses'\]"):
        play(str(tmp_path / "other.npz"))


def test_real_recordings_are_played(shared: Path) -> None:
    source = play(f"{shared}/data/bandai_namco/dataset1/shard_00.npz:dataset-1_bow_active_001")
    assert len(list(source)) == 128
