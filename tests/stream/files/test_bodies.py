"""Logs as skeletons: BVH, TRC and MCAP, read back by readers of their own."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from motion_samples import walk
from stream.codec.decode import Motion
from stream.errors import OutputError
from stream.files.bodies import McapLogWriter, bvh_writer, trc_writer
from stream.files.body import Body, bodies
from stream.files.bvh import BONES, BvhSkeleton, bvh_lines
from stream.log.reader import Logged
from stream.motion.clips import read_npz
from stream.motion.skeleton import JOINTS
from stream.wire.packets import Packet, encode
from wire_samples import EPOCH, sample

HOP = 8


def body_of(joints: NDArray[np.float32]) -> Body:
    return Body("demo", 0, EPOCH, "cm", 30.0, 0, joints, 0)


def logged(joints: NDArray[np.float32], **changes: Any) -> list[Logged]:
    """Return a body's hops as a log has them."""
    found = []
    unit = "cm" if joints.shape[-1] == 3 else "px"
    box = (0.0, 0.0, 0.0, 200.0) if unit == "cm" else (0.0, 0.0, 200.0)
    for seq in range(len(joints) // HOP):
        packet = sample(seq=seq, frame=HOP * seq, unit=unit, box=box, wall=10**18 + seq * 266_666_667, **changes)
        part = joints[HOP * seq : HOP * (seq + 1)]
        motion = Motion(part, np.ones(part.shape[:2], np.float32))
        found.append(Logged(packet, encode(packet), packet.wall, packet.wall, motion))
    return found


def written(kind: Any, block: list[Logged]) -> bytes:
    file = io.BytesIO()
    writer = kind(file)
    writer.add(block)
    writer.close()
    return file.getvalue()


def read_bvh(text: str) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """Return where each joint of a BVH file is, by its name, and the frames' numbers."""
    lines = [line.split() for line in text.splitlines()]
    stack: list[str] = []
    parents: dict[str, str | None] = {}
    offsets: dict[str, NDArray[np.float64]] = {}
    moving: list[str] = []
    for words in lines:
        if words[0] in ("ROOT", "JOINT", "End"):
            name = f"end of {stack[-1]}" if words[0] == "End" else words[1]
            parents[name] = stack[-1] if stack else None
            stack.append(name)
        elif words[0] == "OFFSET":
            offsets[stack[-1]] = np.array(words[1:], float)
        elif words[0] == "CHANNELS":
            assert words[-3:] == ["Zrotation", "Xrotation", "Yrotation"]
            moving.append(stack[-1])
        elif words[0] == "}":
            stack.pop()
        elif words[0] == "MOTION":
            break
    start = next(n for n, words in enumerate(lines) if words[0] == "Frame")
    numbers = np.array(lines[start + 1 :], float)
    world: dict[str, Any] = {}
    places: dict[str, Any] = {}
    for name, parent in parents.items():
        turned = Rotation.identity(len(numbers))
        if name in moving:
            at = 3 + 3 * moving.index(name)
            turned = Rotation.from_euler("ZXY", numbers[:, at : at + 3], degrees=True)
        places[name] = numbers[:, :3] if parent is None else places[parent] + world[parent].apply(offsets[name])
        world[name] = turned if parent is None else world[parent] * turned
    return places, numbers


def test_a_bvh_read_back_is_the_body_with_bones_of_constant_length() -> None:
    joints = walk(88).joints
    text = written(bvh_writer, logged(joints)).decode()
    places, numbers = read_bvh(text)
    assert len(numbers) == 88
    assert "Frame Time: 0.03333333" in text
    upright = joints * (1, -1, -1)
    pairs = {
        "LeftLeg": "l-knee",
        "end of RightLeg": "r-ankle",
        "end of LeftForeArm": "l-wrist",
        "RightArm": "r-shoulder",
    }
    errors = [
        np.linalg.norm(places[name] - upright[:, JOINTS.index(joint)], axis=1).mean() for name, joint in pairs.items()
    ]
    assert max(errors) < 3.0
    length = np.linalg.norm(places["LeftLeg"] - places["LeftUpLeg"], axis=1)
    np.testing.assert_allclose(length, length[0], atol=1e-3)
    skeleton = BvhSkeleton.fit(body_of(joints))
    elbow = [bone.name for bone in BONES].index("LeftForeArm")
    np.testing.assert_allclose(places["LeftForeArm"], skeleton.places[:, elbow], atol=1e-2)


def test_a_bvh_of_real_motion_keeps_every_joint(shared: Path) -> None:
    (clip,) = read_npz(shared / "data" / "cmu_mocap" / "val" / "basketball_1_train.npz")
    assert BvhSkeleton.fit(body_of(clip.joints[::4])).error < 1.0


def test_a_body_that_stands_upside_down_or_on_one_spot_is_written_too() -> None:
    joints = walk(16).joints
    for odd in (joints * np.float32(-1), np.repeat(joints[:1], 16, axis=0), np.zeros_like(joints)):
        lines = list(bvh_lines(BvhSkeleton.fit(body_of(odd)), 30.0))
        assert not any("nan" in line for line in lines)


def test_trc_has_every_marker_in_millimetres_with_y_up() -> None:
    joints = walk(24).joints
    lines = written(trc_writer, logged(joints)).decode().splitlines()
    assert lines[2].split("\t")[:5] == ["30", "30", "24", "17", "mm"]
    names = [name for name in lines[3].split("\t")[2:] if name]
    assert names[0] == "Nose"
    assert "LKnee" in names
    rows = np.array([line.split("\t") for line in lines[6:]], float)
    np.testing.assert_allclose(rows[:, 1], np.arange(24) / 30, atol=1e-5)
    markers = rows[:, 2:].reshape(24, 17, 3)
    np.testing.assert_allclose(markers, joints * (10, -10, -10), atol=1e-3)


def test_mcap_has_packets_and_bodies_at_their_times() -> None:
    joints = walk(16).joints
    content = written(McapLogWriter, logged(joints, track=3))
    reader = make_reader(io.BytesIO(content))
    found = [(channel.topic, message.log_time, message.publish_time, json.loads(message.data))
             for _, channel, message in reader.iter_messages()]  # fmt: skip
    tokens = [each for each in found if each[0] == "/tokens/demo/3"]
    scenes = [each for each in found if each[0] == "/body/demo/3"]
    assert [each[3]["seq"] for each in tokens] == [0, 1]
    assert len(scenes) == 16
    (line,) = scenes[0][3]["entities"][0]["lines"]
    nose = line["points"][0]
    assert nose["z"] == pytest.approx(-joints[0, 0, 1] / 100, abs=1e-5)  # metres, z up
    taken = sorted(each[2] for each in scenes)
    np.testing.assert_allclose(np.diff(taken), 1e9 / 30, rtol=0.01)


def test_lost_hops_repeat_the_last_frame() -> None:
    joints = walk(40).joints
    kept = [each for each in logged(joints) if each.packet.seq != 2]
    (body,) = bodies((each.packet, each.motion) for each in kept if each.motion)
    assert body.filled == HOP
    assert body.joints.shape == (40, 17, 3)
    np.testing.assert_array_equal(body.joints[16:24], np.repeat(joints[15:16], HOP, axis=0))
    np.testing.assert_array_equal(body.joints[24:], joints[24:])


def test_what_does_not_fit_is_refused_with_the_remedy() -> None:
    joints = walk(16).joints
    with pytest.raises(OutputError, match=r"--track of demo/0, demo/1"):
        written(bvh_writer, [*logged(joints, track=0), *logged(joints, track=1)])
    with pytest.raises(OutputError, match=r"is in px.*--dims 3d"):
        written(trc_writer, logged(joints[..., :2]))


def test_frames_that_reach_back_are_left_out() -> None:
    joints = walk(16).joints
    first, second = logged(joints)
    overlapping: Packet = sample(seq=1, frame=4, unit="cm", box=(0.0, 0.0, 0.0, 200.0))
    assert first.motion is not None
    assert second.motion is not None
    (body,) = bodies([(first.packet, first.motion), (overlapping, second.motion)])
    assert len(body.joints) == 12
