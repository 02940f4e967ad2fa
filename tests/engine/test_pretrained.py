"""The tokenizers that ship, on motion that they were not trained on, and in the live pipeline."""

from pathlib import Path

import numpy as np
import pytest

from engine.session import open_decoder, open_encoder
from engine.spec import PRETRAINED, load_tokenizer, shipped
from stream.codec.encode import Hop, Pipeline
from stream.motion.box import from_box
from stream.motion.skeleton import Pose
from stream.sources.base import PoseFrame
from stream.sources.demo import demo_pose
from stream.tokenizer import Tokenizer
from training.data.dataset import read_clips
from training.evaluation.codecs import EngineCodec
from training.evaluation.roundtrip import at_clock_rate, run_clips
from training.evaluation.sets import figures

CENTIMETRES = {
    "heatmap2d-f16": 3.0,
    "heatmap2d-f8": 2.0,
    "heatmap2d-low-latency": 1.6,
    "heatmap3d-f8": 3.1,
    "predictive2d-f8": 1.65,
    "predictive2d-low-latency": 1.65,
    "predictive3d-f8": 2.7,
}
"""Largest mean joint error on each set of recordings, a part of them."""

GRIDS = {
    "heatmap2d-f16": (16, (2, 1, 4, 4), 1024),
    "heatmap2d-f8": (8, (1, 1, 8, 8), 512),
    "heatmap2d-low-latency": (4, (1, 1, 8, 8), 512),
    "heatmap3d-f8": (8, (1, 1, 8, 8), 512),
    "predictive2d-f8": (8, (12, 1, 1, 1), 1024),
    "predictive2d-low-latency": (4, (8, 1, 1, 1), 1024),
    "predictive3d-f8": (8, (12, 1, 1, 1), 1024),
}
"""Frames a hop, token grid and vocabulary."""


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize(("data", "every"), [("cmu_mocap/val", 5), ("bandai_namco/dataset1", 12)])
def test_unseen_motion_comes_back_within_the_stated_error(shared: Path, name: str, data: str, every: int) -> None:
    codec = EngineCodec(open_encoder(name), open_decoder(name))
    spec = codec.encoder.spec
    found = figures(run_clips(codec, read_clips(shared / "data" / data)[::every], spec.dims, spec.hop), spec)
    assert found["joint_error_cm"] < CENTIMETRES[name]
    # Of the few tokens of a short set not every second can be new.
    tokens_of_a_level = found["seconds"] * found["tokens_per_second"] / spec.token_grid[0]
    least = 0.3 if spec.predictive else 0.55
    assert found["vocabulary_used"] > least * min(spec.vocabulary, tokens_of_a_level)
    assert found["bits_per_second"] == spec.bits_per_second


@pytest.mark.parametrize("name", shipped())
def test_a_tokenizer_is_what_its_name_says(name: str) -> None:
    spec = load_tokenizer(name).spec
    assert (spec.name, spec.dims, spec.predictive) == (name, 3 if "3d" in name else 2, name.startswith("predictive"))
    hop, grid, vocabulary = GRIDS[name]
    assert (spec.hop, spec.window, spec.causal, spec.fps) == (hop, hop, True, 30)
    assert (spec.token_grid, spec.vocabulary) == (grid, vocabulary)
    if not spec.predictive:
        assert spec.grid == 64
        assert spec.strides == (hop, 64 // grid[2], 64 // grid[3])
    card = (PRETRAINED / name / "README.md").read_text(encoding="utf-8")
    assert "CC BY-NC 4.0" in card
    assert spec.label in card


@pytest.mark.parametrize("name", [name for name in shipped() if load_tokenizer(name).spec.predictive])
def test_what_a_lost_hop_cost_fades_to_about_a_millimetre_in_eight_hops(shared: Path, name: str) -> None:
    tokenizer, decoder = Tokenizer(name, "onnxruntime"), open_decoder(name, "onnxruntime")
    apart = []
    for clip in read_clips(shared / "data" / "cmu_mocap" / "val")[::3]:
        joints, _ = at_clock_rate(clip, tokenizer.dims, heading=0.0)
        tokens = tokenizer.encode(joints[: 36 * tokenizer.hop], fps=30)
        ids, boxes = tokens.ids.astype(np.int32), tokens.boxes.astype(np.float32)
        # Row n loses hop n, row 0 none.
        count = len(ids)
        state, rows = decoder.init_state(count), []
        for hop in range(count):
            lost = (np.arange(count) == hop) & (hop > 0)
            got = np.where(lost[:, None, None, None, None], -1, ids[hop])
            box = np.where(lost[:, None], boxes[hop - 1], boxes[hop])
            decoded, state = decoder.step(got, np.full(count, hop == 0), state, box=box)
            rows.append((decoded.joints - 0.5) * box[:, None, None, -1:] + box[:, None, None, :-1])
        whole = np.stack(rows, axis=1)
        each = np.linalg.norm(whole - whole[:1], axis=-1).mean(axis=(2, 3))
        apart += [each[hop, hop : hop + 9] for hop in range(1, count - 8)]
    mean = np.mean(apart, axis=0)
    assert len(apart) > 50
    assert mean[0] > 1  # cm
    assert mean[8] < 0.15
    assert (mean[4:] < 0.65 * mean[3:-1]).all()


def stream(count: int) -> list[PoseFrame]:
    """Two people of the demo in cm; the second comes later."""
    return [
        PoseFrame({who: demo_pose(who, n / 30) for who in (0, 1) if n >= 11 * who}, n / 30, n) for n in range(count)
    ]


def hops_of(frames: list[PoseFrame]) -> list[Hop]:
    pipeline = Pipeline(open_encoder("heatmap3d-f8", "onnxruntime"))
    return [hop for frame in frames for hop in pipeline.push(frame)]


def test_a_longer_recording_never_changes_earlier_boxes_or_tokens() -> None:
    whole, part = hops_of(stream(90)), hops_of(stream(50))
    assert len(part) == 10
    for a, b in zip(part, whole, strict=False):
        assert (a.track, a.frame, a.box) == (b.track, b.frame, b.box)
        np.testing.assert_array_equal(a.ids, b.ids)


def test_the_live_pipeline_decodes_to_what_went_in() -> None:
    decoder = open_decoder("heatmap3d-f8", "onnxruntime")
    states = {who: decoder.init_state(1) for who in (0, 1)}
    errors = []
    for hop in hops_of(stream(160)):
        decoded, states[hop.track] = decoder.step(hop.ids[None], np.array([hop.reset]), states[hop.track])
        joints = from_box(decoded.joints[0], hop.box)
        truth = np.stack([demo_pose(hop.track, (hop.frame + i) / 30).joints for i in range(8)])
        errors.append(np.linalg.norm(joints - truth, axis=-1))
    assert np.mean(errors) < 6  # cm; nobody in the training data moves by formulae


def test_a_missing_joint_is_guessed_and_said_to_be_missing() -> None:
    wrist = 9
    encoder, decoder = open_encoder("heatmap3d-f8", "onnxruntime"), open_decoder("heatmap3d-f8", "onnxruntime")
    pipeline, state = Pipeline(encoder), decoder.init_state(1)
    found, said = [], []
    for n in range(64):
        pose = demo_pose(0, n / 30)
        confidence = pose.confidence.copy()
        confidence[wrist] = 0
        for hop in pipeline.push(PoseFrame({0: Pose(pose.joints, confidence)}, n / 30, n)):
            decoded, state = decoder.step(hop.ids[None], np.array([hop.reset]), state)
            joints = from_box(decoded.joints[0], hop.box)
            truth = np.stack([demo_pose(0, (hop.frame + i) / 30).joints for i in range(8)])
            found.append(np.linalg.norm(joints - truth, axis=-1)[:, wrist])
            said.append(decoded.confidence[0])
    confidence = np.concatenate(said)
    assert confidence[:, wrist].mean() < 0.5 < np.delete(confidence, wrist, axis=1).mean()
    assert np.mean(found) < 40  # cm: on the body, not at the origin
