"""OpenVINO: batches of every size, half precision that leaves the ends alone, weights unpacked once, and the cache."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray

from commands import call
from engine import layers as command
from engine.backends.base import Precision
from engine.backends.openvino import BUCKETS, OpenVinoGraph, core, has_bfloat16, read
from engine.backends.openvino_split import cut
from engine.cache import VARIABLE
from engine.errors import EngineError
from engine.session import Encoder, open_decoder, open_encoder
from engine.spec import TokenizerSpec, load_tokenizer, shipped
from stream.motion import box as boxes
from stream.motion.heatmap import draw, marginal, planes_of
from stream.motion.skeleton import FROM_PANOPTIC19
from stream.sources.demo import demo_pose

DRAWN_ALIKE = 1e-5
"""Largest difference between heatmaps drawn inside the graph and outside, of a peak of 1."""

HEATMAPS = [name for name in shipped() if not load_tokenizer(name).spec.predictive]
"""Predictive ones draw nothing, and run in float32 alone."""

needs_half = pytest.mark.skipif(not has_bfloat16(), reason="this processor has no bfloat16")


def keypoints(joints: NDArray[np.float32], hop: int) -> NDArray[np.float32]:
    """Joints [P, T, 17, D] in their boxes, whole hops: [P, hops, hop, 17, D + 1]."""
    state, hops = boxes.Box.fresh(len(joints), joints.shape[-1]), []
    for start in range(0, joints.shape[1] - hop + 1, hop):
        chunk = joints[:, start : start + hop]
        seen = np.ones(chunk.shape[:3], np.float32)
        state = boxes.advance(state, chunk, seen)
        hops.append(boxes.to_keypoints(chunk, seen, state))
    return np.stack(hops, axis=1).astype(np.float32)


def demo(spec: TokenizerSpec, people: int, hops: int) -> NDArray[np.float32]:
    """The built-in motion as keypoints."""
    frames = range(spec.hop * hops)
    joints = [[demo_pose(person, n / 30).joints[:, : spec.dims] for n in frames] for person in range(people)]
    return keypoints(np.array(joints, np.float32), spec.hop)


def recordings(spec: TokenizerSpec, folder: Path, frames: int) -> NDArray[np.float32]:
    """Real motion at its own rate, as keypoints."""
    clips = []
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as archive:
            joints = archive["joints"][:, FROM_PANOPTIC19, : spec.dims].astype(np.float32)
        if "offsets" not in archive and len(joints) >= frames:
            clips.append(joints[:frames])
    return keypoints(np.stack(clips), spec.hop)


def encode(encoder: Encoder, x: NDArray[np.float32]) -> NDArray[np.int32]:
    """Tokens [hops, P, L, t, h, w]."""
    state, out = encoder.init_state(len(x)), []
    for hop in range(x.shape[1]):
        encoded, state = encoder.step(x[:, hop], np.zeros(len(x), bool), state)
        out.append(encoded.tokens)
    return np.stack(out)


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=needs_half)])
@pytest.mark.parametrize("people", [3, 2 * BUCKETS[0] + 5])
def test_a_batch_of_any_size_gives_what_each_gives_alone(people: int, precision: Precision) -> None:
    encoder = open_encoder("heatmap2d-f8", "openvino", precision)
    x = np.resize(demo(encoder.spec, 16, 2), (people, 2, 8, 17, 3))
    x[:, :, :, 9, :] *= (np.arange(people) % 2)[:, None, None, None]  # no two halves of the batch are alike
    whole = encode(encoder, x)
    alone = np.concatenate([encode(encoder, x[i : i + 1]) for i in range(people)], axis=1)
    assert (whole == alone).mean() >= (0.999 if precision == "fp32" else 0.99)


@needs_half
@pytest.mark.parametrize("name", HEATMAPS)
def test_bfloat16_gives_nearly_all_tokens_of_float32_on_real_motion(shared: Path, name: str) -> None:
    exact, half = open_encoder(name, "onnxruntime"), open_encoder(name, "openvino", "bf16")
    x = recordings(exact.spec, shared / "data" / "cmu_mocap" / "val", 96)
    first_level = (encode(half, x) == encode(exact, x))[:, :, 0]
    assert first_level.mean() >= 0.97  # where a first level changes, so does what it leaves to the second


@needs_half
@pytest.mark.parametrize("name", HEATMAPS)
def test_a_decoder_stays_in_float32(name: str) -> None:
    encoder = open_encoder(name, "openvino")
    tokens = encode(encoder, demo(encoder.spec, 3, 1))[0]
    exact, asked = open_decoder(name, "openvino"), open_decoder(name, "openvino", "bf16")
    go_on = np.zeros(3, bool)
    one, other = (each.step(tokens, go_on, each.init_state(3))[0] for each in (exact, asked))
    np.testing.assert_array_equal(one.joints, other.joints)


def layers(model: object, precision: str) -> list[tuple[str, str]]:
    """Type and precision of the layers that run, constants left out."""
    hints = {"INFERENCE_PRECISION_HINT": precision}
    running = core().compile_model(model, "CPU", hints).get_runtime_model()
    info = [node.get_rt_info() for node in running.get_ordered_ops()]
    told = [(str(each["layerType"].astype(str)), str(each["runtimePrecision"].astype(str))) for each in info]
    return [each for each in told if each[0] not in ("Const", "Input", "Output")]


@needs_half
@pytest.mark.parametrize("name", HEATMAPS)
def test_what_draws_and_what_decides_stays_in_float32(name: str) -> None:
    tokenizer = load_tokenizer(name)
    (head, first), (middle, second), (tail, third) = cut(read(tokenizer.graph("encoder"), 1))
    assert (first, second, third) == ("f32", "bf16", "f32")
    assert [port.any_name for port in head.inputs] == ["x"]
    assert {port.any_name for port in tail.outputs} == {"tokens", "latent"}
    states = {f"state.{path}" for path in tokenizer.spec.encoder_states}
    assert states <= {port.any_name for port in middle.inputs}
    products = [sum(node.get_type_name() == "MatMul" for node in part.get_ops()) for part in (head, middle, tail)]
    assert products[0] == 0
    # Into the space of the codes, and with the codes; another level does so with what the first left over.
    assert products[2] == 2 * tokenizer.spec.token_grid[0]
    whole = sum(node.get_type_name() == "MatMul" for node in read(tokenizer.graph("encoder"), 1).get_ops())
    assert sum(products) == whole
    assert ("FullyConnected", "bf16") in layers(middle, "bf16")
    assert [precision for _, precision in cut(read(tokenizer.graph("decoder"), 1))] == ["f32"]


@pytest.mark.parametrize("name", HEATMAPS)
def test_what_a_shipped_graph_draws_is_what_is_drawn_outside(name: str) -> None:
    tokenizer = load_tokenizer(name)
    spec = tokenizer.spec
    (head, _), *_ = cut(read(tokenizer.graph("encoder"), 4))
    x = demo(spec, 4, 1)[:, 0]
    x[1:, :, 9] = 0  # a joint that is missing
    drawing = core().compile_model(head, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    lines = [line.reshape(*line.shape[:3], spec.grid) for line in drawing(x).to_tuple()]
    down = [marginal(x[..., row], spec.grid, spec.sigma) for _, row in planes_of(spec.dims)]
    outside = draw(x, spec.grid, spec.sigma)
    (rows,) = (n for n, line in enumerate(lines) if np.abs(line - np.concatenate(down, axis=2)).max() < DRAWN_ALIKE)
    inside = lines[rows][..., :, None] * lines[1 - rows][..., None, :]
    np.testing.assert_allclose(np.moveaxis(inside, 1, 2), outside, atol=DRAWN_ALIKE, rtol=0)


@pytest.mark.parametrize("name", HEATMAPS)
def test_weights_kept_in_float16_are_unpacked_when_compiling_not_in_every_call(name: str) -> None:
    tokenizer = load_tokenizer(name)
    for file in (tokenizer.graph("encoder"), tokenizer.graph("decoder")):
        model = read(file, 1)
        packed = [node for node in model.get_ops() if node.get_type_name() == "Convert"]
        assert any(node.input_value(0).get_element_type() == openvino.Type.f16 for node in packed)
        running = layers(model, "f32")
        assert all(precision in ("f32", "i32") for _, precision in running)
        assert sum(kind == "Convert" for kind, _ in running) <= 1  # the ids themselves


def test_a_graph_without_a_norm_before_its_result_is_left_whole() -> None:
    x = openvino.opset13.parameter([1, 4], np.float32, "x")
    x.output(0).get_tensor().set_names({"x"})
    product = openvino.opset13.matmul(x, openvino.opset13.constant(np.eye(4, dtype=np.float32)), False, False)
    product.output(0).get_tensor().set_names({"tokens"})
    assert [precision for _, precision in cut(openvino.Model([product], [x]))] == ["f32"]


def test_compiled_graphs_are_kept_for_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    file = load_tokenizer("heatmap2d-f8").graph("encoder")
    feeds = {
        name: np.full((1, *(size or 1 for size in shape[1:])), 0.5, np.float32)
        for name, shape in OpenVinoGraph(file).inputs.items()
    }
    first = OpenVinoGraph(file).run(feeds)
    folder = tmp_path / "cache" / "openvino"
    assert folder.stat().st_mode & 0o777 == 0o700
    kept = {each: each.stat().st_mtime_ns for each in folder.iterdir()}
    assert len(kept) == 1
    again = OpenVinoGraph(file).run(feeds)
    assert {each: each.stat().st_mtime_ns for each in folder.iterdir()} == kept  # read, not made again
    np.testing.assert_array_equal(first["tokens"], again["tokens"])


def test_without_a_place_to_keep_them_it_runs_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file"))
    encoder = open_encoder("heatmap2d-f8", "openvino")
    assert encode(encoder, demo(encoder.spec, 1, 1)).shape == (1, 1, 1, 1, 8, 8)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_precision_that_a_backend_does_not_have_is_refused(backend: str) -> None:
    with pytest.raises(EngineError, match=rf"{backend} runs in fp32.*not in int8: choose another --precision"):
        open_encoder("heatmap2d-f8", backend, "int8")  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=needs_half)])
def test_the_time_of_a_step_is_told_by_kind_of_layer(precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(command, ["--part", "encoder", "--precision", precision, "--batch", "2"]) == 0
    rows = [line.split("|")[1:4] for line in capsys.readouterr().out.splitlines() if "%" in line]
    kinds = [kind.strip() for kind, _, _ in rows]
    assert any(kind.startswith("FullyConnected") for kind in kinds)
    assert any("bf16" in kind for kind in kinds) == (precision == "bf16")
    whole = float(rows[-1][1])
    assert 0.9 * whole < sum(float(ms) for _, ms, _ in rows[:-1]) <= 1.05 * whole


INTERRUPTED = """
import os, signal, sys
from engine.session import open_encoder

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
first = open_encoder("heatmap2d-f8", "openvino")
second = open_encoder("heatmap3d-f8", "openvino")
del first
del second
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    sys.exit(70)
"""


def test_a_process_that_closed_its_sessions_bears_a_signal() -> None:
    assert subprocess.run([sys.executable, "-c", INTERRUPTED], timeout=60).returncode == 70
