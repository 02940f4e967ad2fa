"""The producer as users run it: a process of its own, a subscriber process beside it, over TCP."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from image_samples import MjpegServer
from panoptic_samples import panoptic19, scene, write
from processes import ROOT
from stream.client import TokenStream
from stream.command.child import ProducerProcess
from stream.motion.skeleton import FROM_PANOPTIC19
from stream.producer import Config
from stream.sources.demo import demo_pose
from stream.wire.packets import Goodbye, Packet

HOP = 8


def walkers(folder: Path, frames: int, absent: range = range(0), skip: range = range(0)) -> Path:
    """A Panoptic sequence of two people of the demo; the second is away in `absent`, frames in `skip` are missing."""
    content = {
        n: scene(
            *((who, panoptic19(demo_pose(who, n / 29.97))) for who in (0, 1) if who == 0 or n not in absent),
            time=1000 + n * 1000 / 29.97,
        )
        for n in range(frames)
        if n not in skip
    }
    return write(folder / "walkers", dict(content))


def replay(*flags: str, decode: bool = True) -> tuple[list[dict[str, Any]], str, str]:
    """Run a producer at full speed and a JSON subscriber; return its objects and what both said."""
    with ProducerProcess([*flags, "--rate", "max"], stderr=subprocess.PIPE) as producer:
        command = [sys.executable, "-m", "stream.subscriber", "--connect", producer.address, "--json"]
        command += ["--decode"] * decode + ["--once", "--timeout", "60"]
        heard = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True, timeout=100)
        assert producer.process.stderr is not None
        said = producer.process.stderr.read()
        assert producer.finish(timeout=10) == 0, said
    return [json.loads(line) for line in heard.stdout.splitlines()], heard.stderr, said


def by_track(packets: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    tracks = defaultdict(list)
    for packet in packets:
        tracks[packet["track"]].append(packet)
    return tracks


def check_order(packets: list[dict[str, Any]]) -> None:
    """Every packet of every track once and in order, hops end to end but for resets."""
    for mine in by_track(packets).values():
        assert [p["seq"] for p in mine] == list(range(len(mine)))
        assert mine[0]["reset"]
        for before, after in itertools.pairwise(mine):
            assert after["reset"] or after["frame"] == before["frame"] + HOP


def errors_of(packets: list[dict[str, Any]], truth: dict[tuple[int, int], np.ndarray]) -> np.ndarray:
    """Distance of every decoded joint that was seen from the truth by (track, frame)."""
    found = []
    for packet in packets:
        for i in range(packet["hop"]):
            key = (packet["track"], packet["frame"] + i)
            if packet["observed"] >> i & 1 and key in truth:
                found.append(np.linalg.norm(np.array(packet["joints"][i]) - truth[key], axis=-1))
    return np.array(found)


def test_a_replay_arrives_whole_and_decodes_within_the_stated_error(tmp_path: Path) -> None:
    sequence = walkers(tmp_path, 100)
    packets, heard, said = replay("--panoptic", str(sequence), "--dims", "3d")
    check_order(packets)
    assert "gaps 0, duplicates 0, late 0, invalid 0" in heard
    assert "source ended" in said
    tracks = by_track(packets)
    assert {track: len(mine) for track, mine in tracks.items()} == {0: 13, 1: 13}
    assert [p["observed"] for p in tracks[0]] == [255] * 12 + [0b1111]
    truth = {(who, n): demo_pose(who, n / 29.97).joints for who in (0, 1) for n in range(100)}
    errors = errors_of(packets, truth)
    assert len(errors) == 200
    assert errors.mean() < 6.0  # cm; the demo's motion is none that the tokenizer was trained on
    first = packets[0]
    assert (first["unit"], first["stream"], len(first["tokens"]), len(first["box"])) == ("cm", "panoptic", 64, 4)
    assert np.shape(first["joints"]) == (HOP, 17, 3)
    assert np.shape(first["confidence"]) == (HOP, 17)


def test_someone_away_is_held_then_ends_and_comes_back_reset(tmp_path: Path) -> None:
    packets, _, _ = replay("--panoptic", str(walkers(tmp_path, 80, absent=range(20, 50))), decode=False)
    check_order(packets)
    second = by_track(packets)[1]
    assert [(p["frame"], p["observed"], p["reset"]) for p in second] == [
        (0, 255, True),
        (8, 255, False),
        (16, 0b1111, False),
        (50, 255, True),
        (58, 255, False),
        (66, 255, False),
        (74, 0b111111, False),
    ]


def test_missing_and_broken_frames_are_filled_counted_and_survived(tmp_path: Path) -> None:
    sequence = walkers(tmp_path, 40, skip=range(10, 12))
    broken = sequence / "hdPose3d_stage1_coco19" / "body3DScene_00000020.json"
    broken.write_bytes(broken.read_bytes()[:300])
    packets, _, said = replay("--panoptic", str(sequence), decode=False)
    check_order(packets)
    mine = by_track(packets)[0]
    assert [p["observed"] for p in mine] == [255, 0b11110011, 0b11101111, 255, 255]
    assert "frames unreadable 1" in said
    assert "body3DScene_00000020.json" in said


@pytest.mark.parametrize("dims", ["2d", "3d"])
def test_real_motion_decodes_within_the_stated_error(shared: Path, dims: str) -> None:
    folder = shared / "data" / "panoptic_style" / "cmu_walking_1"
    packets, _, _ = replay("--panoptic", str(folder), "--dims", dims)
    check_order(packets)
    assert len(packets) == 21
    if dims == "3d":
        truth = {}
        for n in range(168):
            (body,) = json.loads(
                (folder / f"hdPose3d_stage1_coco19/body3DScene_{n:08d}.json").read_text(encoding="utf-8")
            )["bodies"]
            truth[0, n] = np.array(body["joints19"]).reshape(19, 4)[FROM_PANOPTIC19, :3]
        assert errors_of(packets, truth).mean() < 4.0  # cm


def test_real_panoptic_recordings_give_all_their_people(shared: Path) -> None:
    for band in ("160906_band1", "160906_band2"):
        packets, _, said = replay("--panoptic", str(shared / "data" / "panoptic" / band), "--dims", "2d")
        check_order(packets)
        assert {track: len(mine) for track, mine in by_track(packets).items()} == {0: 3, 1: 3, 2: 3}
        assert "00_03" in said
        for packet in packets:
            x, y, side = packet["box"]
            assert 0 < x < 1920
            assert 0 < y < 1300
            assert 100 < side < 2000


@pytest.mark.parametrize("dims", ["2d", "3d"])
def test_both_people_of_a_video_become_two_streams(shared: Path, dims: str) -> None:
    video = shared / "data" / "video" / "two_people_indoor.mp4"
    model = shared / "models" / "pose_landmarker_full.task"
    packets, _, said = replay("--video", str(video), "--pose-model", str(model), "--dims", dims)
    check_order(packets)
    assert "frames 72" in said
    tracks = by_track(packets)
    assert tracks.keys() == {0, 1}
    # Up to frame 52, where their embrace defeats it; the clock has two ticks more by then, as the video has 28 fps.
    assert [mine[-1]["frame"] // HOP for mine in tracks.values()][1] in (5, 6)
    for mine in tracks.values():
        assert all(p["observed"].bit_count() >= 7 for p in mine[:6])
    if dims == "2d":
        for right, left in zip(tracks[0][:6], tracks[1][:6], strict=True):
            assert left["box"][0] < right["box"][0] < 1920
            heads, feet = (np.array(right["joints"])[:, rows, 1].mean() for rows in ([0, 1, 2], [15, 16]))
            assert feet > heads + 300  # upright, y down


def test_a_live_address_ends_with_its_duration(tmp_path: Path, shared: Path) -> None:
    model = str(shared / "models" / "pose_landmarker_full.task")
    with closing(MjpegServer()) as server:
        flags = [
            "--video",
            f"http://127.0.0.1:{server.port}/live",
            "--pose-model",
            model,
            "--duration",
            "1.5",
            "--bind",
            f"ipc://{tmp_path}/socket",
        ]
        done = subprocess.run(
            [sys.executable, "-m", "stream.producer", *flags],
            cwd=ROOT,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    assert "duration over" in done.stderr


def test_a_stopped_producer_finishes_its_hop_and_says_goodbye() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        with ProducerProcess(["--demo", "--stream", "stopped"]) as producer, TokenStream(producer.address) as stream:
            packets: list[Packet] = []
            while len(packets) < 5:
                heard = stream.poll(30)
                assert heard is not None
                if isinstance(heard.message, Packet):
                    packets.append(heard.message)
            producer.process.send_signal(number)
            goodbye = None
            while not isinstance(goodbye, Goodbye):
                heard = stream.poll(10)
                assert heard is not None
                goodbye = heard.message
                if isinstance(goodbye, Packet):
                    packets.append(goodbye)
            assert producer.process.wait(10) == 0
            assert goodbye.reason == "stopped"
            assert dict(goodbye.last) == {p.track: p.seq for p in packets}
            assert stream.total.gaps == 0


def test_nobody_who_takes_what_it_says_is_no_reason_to_end(tmp_path: Path) -> None:
    for lost in ("full disk", "reader that left"):
        with open("/dev/full", "wb") as full:
            reader, writer = os.pipe()
            os.close(reader)
            command = [sys.executable, "-m", "stream.producer", "--demo", "--rate", "max", "--duration", "3"]
            command += ["--bind", f"ipc://{tmp_path}/{lost[:4]}"]
            stderr = full if lost == "full disk" else writer
            done = subprocess.run(command, cwd=ROOT, stderr=stderr, timeout=60, check=False)
            os.close(writer)
        assert done.returncode == 0, lost


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ([], 2, "give one source"),
        (["--demo", "--video", "x.mp4"], 2, "given: --video and --demo"),
        (["--demo", "--fps", "fast"], 2, "--fps"),
        (["--demo", "--fps", "5"], 2, "--fps 5"),
        (["--video", "rtsp://host/live", "--rate", "max"], 2, "sets its own pace"),
        (["--video", "http://host/live", "--loop"], 2, "--loop goes with"),
        (["--demo", "--with-picture"], 2, "--with-picture goes with one --camera or --video"),
        (["--demo", "--with-joints", "--rate", "max"], 2, "leave out --rate max"),
        (["--camera", "rtsp://bob:s3cret@host/live"], 2, "--camera"),
        (["--demo", "--colour", "red"], 2, "--colour"),
        (["--demo", "--stream", "a/b"], 2, "cannot name a stream"),
        (["--demo", "--config", "nothing.yaml"], 2, "nothing.yaml"),
        (["--video", "nothing.mp4"], 3, "nothing.mp4"),
        (["--panoptic", "tests"], 3, "hdPose3d_stage1_coco19"),
        (["--video", __file__, "--pose-model", "nothing.task"], 4, "nothing.task"),
        (["--demo", "--tokenizer", "heatmap9d"], 5, "no tokenizer 'heatmap9d'"),
        (["--demo", "--tokenizer", "heatmap3d-f8", "--dims", "2d"], 5, "is 3d: leave out --dims 2d"),
        (["--demo", "--bind", "127.0.0.1"], 6, "127.0.0.1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_line_with_its_own_exit_code(
    flags: list[str], code: int, message: str, tmp_path: Path
) -> None:
    check_failure(flags if "--bind" in flags else [*flags, "--bind", f"ipc://{tmp_path}/socket"], code, message)


def test_the_first_camera_names_its_stream_like_any_other() -> None:
    assert [Config(camera=(number,)).kind for number in (0, 1)] == ["camera", "camera"]


def test_a_camera_that_is_not_there_is_named(shared: Path, tmp_path: Path) -> None:
    model = str(shared / "models" / "pose_landmarker_full.task")
    flags = ["--camera", "99", "--pose-model", model, "--bind", f"ipc://{tmp_path}/socket"]
    check_failure(flags, 3, "no camera 99")


def check_failure(flags: list[str], code: int, message: str) -> None:
    """Run a producer that must fail with this exit code and one line."""
    done = subprocess.run(
        [sys.executable, "-m", "stream.producer", *flags], cwd=ROOT, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "s3cret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_named_and_its_holder_left_alone() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        address = f"tcp://127.0.0.1:{holder.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", "stream.producer", "--demo", "--bind", address],
            cwd=ROOT,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 6
        assert address in done.stderr
        with socket.create_connection(holder.getsockname(), timeout=5):
            pass


def test_flags_come_from_a_file_and_the_command_line_goes_before_it(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(
        "demo: true\nduration: 1.0\nmax_persons: 3\nstream: from-file\n", encoding="utf-8"
    )
    packets, _, _ = replay("--config", str(tmp_path / "run.yaml"), "--max-persons", "1", decode=False)
    assert {p["stream"] for p in packets} == {"from-file"}
    assert {p["track"] for p in packets} == {0}
    assert len(packets) == 4
