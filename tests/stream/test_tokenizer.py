"""Motion to tokens and back as an object: the producer's own ids, whatever the way, and errors that say what to do."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from engine.errors import TokenizerError
from stream import Tokenizer, Tokens, read_log
from stream.codec.encode import Hop
from stream.motion.clips import Clip, read_npz
from stream.motion.skeleton import FROM_PANOPTIC19, JOINTS, Array
from stream.producer import Config, main
from stream.sources.demo import DemoSource

FRAMES = 100


@pytest.fixture(scope="module")
def flat() -> Tokenizer:
    return Tokenizer("heatmap2d-f8", "onnxruntime")


@pytest.fixture(scope="module")
def solid() -> Tokenizer:
    return Tokenizer("heatmap3d-f8", "onnxruntime")


def demo(dims: int, person: int, frames: int = FRAMES) -> Array:
    source = DemoSource("3d" if dims == 3 else "2d", "max", threading.Event(), 30, person + 1, frames / 30)
    return np.stack([frame.people[person].joints for frame in source])


def same(one: Tokens, other: Tokens) -> None:
    for name in ("ids", "boxes", "observed", "frames", "reset"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def pushed(tokenizer: Tokenizer, joints: Array, fps: float = 30.0) -> list[Hop]:
    stream = tokenizer.stream()
    return [hop for n, pose in enumerate(joints) for hop in stream.push(pose, n / fps)] + stream.flush()


def test_neither_zeromq_nor_torch_is_imported() -> None:
    work = (
        "import sys, numpy; from stream import Tokenizer; t = Tokenizer('heatmap2d-f16', 'onnxruntime'); "
        "t.decode(t.encode(numpy.random.default_rng(0).uniform(0, 99, (64, 17, 2)))); "
        "print([name for name in ('zmq', 'torch', 'cv2', 'mediapipe') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", work], capture_output=True, encoding="utf-8", timeout=100, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("dims", [2, 3])
def test_whole_and_frame_by_frame_give_the_ids_of_the_producer(dims: int, tmp_path: Path) -> None:
    log = tmp_path / "tokens.db"
    name = f"heatmap{dims}d-f8"
    config = Config(
        demo=True, tokenizer=name, backend="onnxruntime", rate="max", max_persons=2, duration=FRAMES / 30,
        bind=f"ipc://{tmp_path}/packets", log=str(log),
    )  # fmt: skip
    main(config, threading.Event())
    tokenizer = Tokenizer(name, "onnxruntime")
    for person in range(2):
        packets = [logged.packet for logged in read_log(log, track=person)]
        joints = demo(dims, person)
        tokens = tokenizer.encode(joints)
        np.testing.assert_array_equal(tokens.ids, [packet.ids() for packet in packets])
        np.testing.assert_array_equal(tokens.boxes, np.array([packet.box for packet in packets], np.float32))
        assert tokens.observed.tolist() == [packet.observed for packet in packets]
        assert tokens.frames.tolist() == [packet.frame for packet in packets]
        assert {packet.tokenizer for packet in packets} == {tokenizer.label} == {tokens.tokenizer}
        same(Tokens.from_hops(pushed(tokenizer, joints), tokenizer), tokens)


def test_a_log_is_read_with_its_joints(flat: Tokenizer, tmp_path: Path) -> None:
    log = tmp_path / "tokens.db"
    config = Config(
        demo=True, backend="onnxruntime", rate="max", duration=1.0, bind=f"ipc://{tmp_path}/packets", log=str(log)
    )
    main(config, threading.Event())
    decoded = [logged.motion for logged in read_log(log, decode=True, track=1)]
    assert len(decoded) == 4
    motion = flat.decode(flat.encode(demo(2, 1, 30)))
    joints = np.concatenate([each.joints for each in decoded if each])
    np.testing.assert_allclose(joints[:30], motion.joints, atol=0.05)  # px; the log's backend is the fastest here


@pytest.mark.parametrize("dims", [2, 3])
def test_the_motion_that_comes_back_is_where_it_was(dims: int, flat: Tokenizer, solid: Tokenizer) -> None:
    tokenizer = solid if dims == 3 else flat
    joints = demo(dims, 0)
    motion = tokenizer.decode(tokenizer.encode(joints))
    assert motion.joints.shape == joints.shape
    assert motion.confidence.shape == (FRAMES, 17)
    size = np.ptp(joints, axis=1).max(axis=1).mean()
    assert np.linalg.norm(motion.joints - joints, axis=-1).mean() < 0.04 * size
    # Hop by hop it is the same motion.
    stream = tokenizer.decode_stream()
    parts = np.concatenate([stream.push(hop).joints for hop in tokenizer.encode(joints).hops()])
    np.testing.assert_array_equal(parts[:FRAMES], motion.joints)


def test_real_recordings_side_by_side_are_each_as_if_alone(shared: Path, solid: Tokenizer) -> None:
    clips = read_npz(shared / "data/bandai_namco/dataset1/shard_00.npz")[:40]
    batch = solid.encode_batch([clip.joints for clip in clips], clips[0].fps)
    for clip, tokens in zip(clips, batch, strict=True):
        same(tokens, solid.encode(clip.joints, clip.fps))
        assert solid.decode(tokens).joints.shape == clip.joints.shape
    together = solid.decode_batch(batch)
    np.testing.assert_array_equal(together[-1].joints, solid.decode(batch[-1]).joints)
    errors = [np.linalg.norm(m.joints - clip.joints, axis=-1).mean() for m, clip in zip(together, clips, strict=True)]
    assert np.mean(errors) < 4  # cm; docs/results.md has 3.00 on all 174


def test_recordings_of_other_rates_and_lengths_go_together(solid: Tokenizer) -> None:
    walk = demo(3, 0)
    fast = np.repeat(walk, 4, axis=0)
    slow = walk[::2]
    batch = solid.encode_batch([walk, fast, slow, walk[:9]], [30, 120, 15, 30])
    same(batch[0], solid.encode(walk))
    same(batch[0], solid.encode(walk, np.array(30)))  # as it is read from an npz file
    same(batch[1], batch[0])  # the frames that fall on the ticks are the same
    assert [len(tokens) for tokens in batch] == [13, 13, 13, 2]
    assert batch[2].observed[1] == 0b01010101  # frames between were filled
    assert batch[3].observed.tolist() == [255, 1]
    assert [len(solid.decode(tokens).joints) for tokens in batch] == [100, 100, 99, 9]


def test_panoptics_joints_are_taken_as_they_are(solid: Tokenizer) -> None:
    walk = demo(3, 0, 32)
    panoptic = np.zeros((32, 19, 3), np.float32)
    panoptic[:, FROM_PANOPTIC19] = walk
    same(solid.encode(panoptic), solid.encode(walk))


def test_unseen_joints_may_be_anything_and_unseen_frames_are_gaps(solid: Tokenizer) -> None:
    walk = demo(3, 1, 80)
    confidence = np.ones((80, 17), np.float32)
    confidence[5, 9] = 0.1
    hidden = walk.copy()
    hidden[5, 9] = np.nan
    same(solid.encode(hidden, confidence=confidence), solid.encode(walk, confidence=confidence))
    confidence[30:60] = 0
    tokens = solid.encode(hidden, confidence=confidence)
    assert tokens.reset.sum() == 2
    motion = solid.decode(tokens)
    assert motion.joints.shape == walk.shape
    assert np.isnan(motion.joints[40:58]).all()
    assert (motion.confidence[40:58] == 0).all()
    assert np.isfinite(motion.joints[60:]).all()


def test_names_directories_and_labels(flat: Tokenizer, tmp_path: Path) -> None:
    assert (flat.vocabulary, flat.hop, flat.grid, flat.fps, flat.dims) == (512, 8, (1, 1, 8, 8), 30.0, 2)
    assert flat.joint_names == JOINTS
    assert Tokenizer(flat.label).label == Tokenizer(flat._files.folder).label == flat.label
    with pytest.raises(TokenizerError, match=r"f8@0123456789ab is not the heatmap2d-f8 that ships.*directory"):
        Tokenizer("heatmap2d-f8@0123456789ab")
    with pytest.raises(TokenizerError, match=r"no tokenizer 'waltz': give the name of a shipped one \(heatmap2d"):
        Tokenizer("waltz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda j: j[0], r"\[17, 3\]: give one person's motion"),
        (lambda j: j[None], r"\[1, 40, 17, 3\]: give one person's"),
        (lambda j: j[:5], r"\[5, 17, 3\] at 30 fps are shorter than one hop of 8 frames.*at least 8 frames"),
        (lambda j: j[:0], r"\[0, 17, 3\]: there is no frame"),
        (lambda j: j[:, :12], r"\[40, 12, 3\]: take the 17 joints of COCO \(nose, l-eye.*Panoptic"),
        (lambda j: j[..., :2], r"3D tokenizer, not \[40, 17, 2\]: choose another"),
        (
            lambda j: np.where(np.arange(40)[:, None, None] == 7, np.nan, j),
            "17 of them are not finite.*frame 7, j",
        ),
        (lambda j: j.astype(str), "numbers"),
        (lambda j: j.astype(complex), "complex128"),
    ],
)
def test_arrays_that_do_not_fit_say_how(change: object, message: str, solid: Tokenizer) -> None:
    assert callable(change)
    with pytest.raises(ValueError, match=message):
        solid.encode(change(demo(3, 0, 40)))


def test_other_arguments_that_do_not_fit_say_how(flat: Tokenizer, solid: Tokenizer) -> None:
    joints = demo(3, 0, 40)
    with pytest.raises(ValueError, match=r"2D tokenizer, not \[40, 17, 3\]: drop an axis"):
        flat.encode(joints)
    for fps in (float("nan"), -30, 2):
        with pytest.raises(ValueError, match=r"fps .*3\.3 or more"):
            solid.encode(joints, fps)
    with pytest.raises(ValueError, match=r"confidence must be numbers \[40, 17\]"):
        solid.encode(joints, confidence=np.ones(17))
    with pytest.raises(ValueError, match="between 0 and 1"):
        solid.encode(joints, confidence=np.full((40, 17), np.nan))
    with pytest.raises(ValueError, match="nobody is seen"):
        solid.encode(joints, confidence=np.zeros((40, 17)))
    with pytest.raises(ValueError, match="recording 1: joints"):
        solid.encode_batch([joints, joints[:2]])
    with pytest.raises(ValueError, match="1 recordings, but 2 rates"):
        solid.encode_batch([joints], [30, 30])
    with pytest.raises(ValueError, match="seconds on a clock"):
        solid.stream().push(joints[0], float("inf"))
    tokens = solid.encode(joints)
    with pytest.raises(ValueError, match=r"tokens of heatmap3d-f8@.*, not of heatmap2d-f8@"):
        flat.decode(tokens)
    with pytest.raises(ValueError, match="no hops"):
        solid.decode(tokens[5:])


def test_a_clip_of_the_training_sets_is_as_training_sees_it(shared: Path, flat: Tokenizer) -> None:
    """The evaluation's tokens are the product's."""
    from training.evaluation.codecs import open_codec
    from training.evaluation.roundtrip import run_clip

    clip: Clip = read_npz(sorted((shared / "data/cmu_mocap/val").glob("*.npz"))[0])[0]
    codec, sizes = open_codec("heatmap2d-f8", "onnxruntime")
    track = run_clip(codec, clip, 2, sizes.hop, np.random.default_rng(0))
    np.testing.assert_array_equal(flat.encode(track.truth).ids, track.tokens)
