"""Frames and bodies of Panoptic recordings that cannot be read: they cost what is damaged, and are counted."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panoptic_samples import pack, replay, scene, source, standing, ten_frames, write
from stream.errors import SourceError
from stream.motion.panoptic import MAX_FILE_BYTES, POSES, frame_name
from stream.motion.scenes import _decode
from stream.motion.skeleton import FROM_PANOPTIC19


def broken_frames() -> dict[int, dict[str, Any] | bytes]:
    whole = json.dumps(scene((0, standing()), time=1000.0)).encode()
    return {
        **ten_frames(),
        2: whole[: len(whole) // 2],
        4: b"",
        5: b'{"bodies": 5}',
        6: scene((1, standing()), (1, standing()), time=1200.0),
        7: whole + b" " * MAX_FILE_BYTES,
    }


@pytest.mark.parametrize("packed", [False, True])
def test_broken_frames_are_left_out_and_counted(tmp_path: Path, packed: bool) -> None:
    sequence = write(tmp_path / "seq", broken_frames())
    replayed = source(pack(sequence, tmp_path / "seq.tar", lambda f: f.name) if packed else sequence)
    assert replayed.scenes.first_fault is None
    assert [f.time for f in replayed] == pytest.approx([0, 0.1 / 3, 0.1, 0.6 / 3, 0.8 / 3, 0.9 / 3])
    assert replayed.counts == {"frames unreadable": 4, "bodies left out": 1}
    assert replayed.scenes.first_fault is not None
    assert frame_name(2) in replayed.scenes.first_fault
    assert "truncated" in replayed.scenes.first_fault


@pytest.mark.parametrize("odd", [-1, 2**63, 3])
def test_bodies_without_an_id_of_their_own_are_left_out_and_nobody_else(
    tmp_path: Path, odd: int, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = standing(), standing(200)
    scenes = {n: scene((3, first), (4, second), (odd, standing(500)), time=1000.0 * n) for n in range(3)}
    replayed = source(write(tmp_path / "seq", dict(scenes)))
    for frame in replayed:
        assert frame.people.keys() == {3, 4}
        np.testing.assert_allclose(frame.people[3].joints, first[FROM_PANOPTIC19][:, :3], atol=1e-4)
    assert replayed.counts == {"bodies left out": 3}
    assert replayed.scenes.first_fault is not None
    assert f"with the id {odd}" in replayed.scenes.first_fault
    assert len(caplog.messages) == 1


def test_the_outliers_of_a_recording_cost_no_frame(shared: Path) -> None:
    replayed = source(shared / "cases" / "panoptic_outlier")
    frames = list(replayed)
    assert len(frames) == 20
    assert all(frame.people for frame in frames)
    assert replayed.counts == {"bodies left out": 7}


def with_body(**body: Any) -> dict[str, Any]:
    """A frame of two sound people and a body between them."""
    frame = scene((0, standing()), (7, standing(200)), time=1000.0)
    frame["bodies"].insert(1, {"id": 3, "joints19": standing(100).ravel().tolist()} | body)
    return frame


@pytest.mark.parametrize(
    "frame",
    [
        with_body(id=-1),  # what the data set's own tools skip as an outlier
        with_body(id=2**63),  # no packet can carry it
        with_body(id="three"),
        with_body(id=None),
        with_body(id=1.5),
        with_body(joints19=standing()[:18].ravel().tolist()),
        with_body(joints19=None),
        with_body(joints19=["far"] * 76),
        with_body(joints19=[[0.0] * 4] * 19),
        with_body(id=-1, joints19=[float("nan")] * 76),
    ],
    ids=str,
)
def test_a_body_that_is_none_is_left_out_and_counted_and_nobody_else(
    tmp_path: Path, frame: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    replayed = source(write(tmp_path / "seq", {**ten_frames(), 4: frame, 6: frame}))
    frames = list(replayed)
    assert [set(f.people) for f in frames] == [{0, 7} if n in (4, 6) else {0} for n in range(10)]
    np.testing.assert_allclose(frames[4].people[7].joints, standing(200)[FROM_PANOPTIC19, :3], atol=1e-3)
    assert replayed.counts == {"bodies left out": 2}
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("better", [0, 1])
def test_of_two_bodies_with_one_id_the_better_measured_stays(tmp_path: Path, better: int) -> None:
    twins = [standing(100), standing(300)]
    twins[1 - better][:, 3] *= 0.8
    frame = scene((1, twins[0]), (0, standing()), (1, twins[1]), time=1000.0)
    replayed = source(write(tmp_path / "seq", {0: frame}))
    (only,) = replayed
    assert set(only.people) == {0, 1}
    np.testing.assert_allclose(only.people[1].joints, twins[better][FROM_PANOPTIC19, :3], atol=1e-3)
    assert replayed.counts == {"bodies left out": 1}


@pytest.mark.parametrize("stamp", ["noon", None, True, [1.0]])
def test_a_time_that_is_none_costs_no_frame(tmp_path: Path, stamp: Any) -> None:
    frames = ten_frames()
    frames[4] = scene((0, standing())) | {"univTime": stamp}
    replayed = source(write(tmp_path / "seq", frames))
    assert [f.time for f in replayed] == pytest.approx([n / 30 for n in range(10)], abs=1e-3)
    assert replayed.counts == {}


def test_a_frame_that_vanishes_is_counted(tmp_path: Path) -> None:
    sequence = write(tmp_path / "seq", ten_frames())
    replayed = source(sequence)
    (sequence / POSES / frame_name(4)).unlink()
    assert len(list(replayed)) == 9
    assert replayed.counts == {"frames unreadable": 1}


@pytest.mark.parametrize("loop", [False, True])
def test_when_no_frame_can_be_read_the_run_fails_and_says_why(tmp_path: Path, loop: bool) -> None:
    sequence = write(tmp_path / "seq", {0: b"{}", 1: b"{}"})
    with pytest.raises(SourceError, match=f"none of the 2 frames.*{frame_name(0)}.*bodies"):
        replay(sequence, loop=loop)


@settings(max_examples=300, derandomize=True)
@given(st.binary(max_size=60), st.integers(0, 2000), st.booleans())
def test_no_content_breaks_the_decoder(junk: bytes, at: int, insert: bool) -> None:
    whole = json.dumps(scene((0, standing()))).encode()
    with suppress(ValueError):
        _decode(whole[:at] + junk + whole[at if insert else at + len(junk) :])


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"bodies": ' + b"[" * 100_000, b'{"bodies":[],"univTime":' + b"1" * 5000 + b"}"]
)
def test_hostile_content_is_an_ordinary_failure(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"out of range|Expected|recursion"):
        _decode(content)
