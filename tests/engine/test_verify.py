"""Engines against ONNX Runtime in float32: what passes, what fails, and the windows that are compared."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from built_in_motion import make
from commands import call
from engine import verify as command
from engine.backends.base import Precision
from engine.errors import EngineError
from engine.sample_windows import BUILT_IN, Windows, read_windows
from engine.session import Backend, Encoder, open_decoder, open_encoder
from engine.spec import TokenizerFiles, load_tokenizer, sha256, shipped, write_sums
from engine.verify import Verdict, compare_decoders, compare_encoders, verify
from stream.motion.skeleton import FROM_PANOPTIC19


@pytest.fixture
def tokenizer() -> TokenizerFiles:
    return load_tokenizer("heatmap2d-f8")


def short(tokenizer: TokenizerFiles) -> Windows:
    return read_windows(tokenizer.spec, []).first(14)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("name", shipped())
def test_float32_engines_pass(name: str, backend: Backend) -> None:
    tokenizer = load_tokenizer(name)
    verdict = verify(tokenizer, backend, "fp32", short(tokenizer), batches=(1, 3))
    assert verdict.passed
    assert verdict.encoding.equal >= 0.999
    assert verdict.encoding.tokens == 14 * 4 * tokenizer.spec.tokens_per_hop
    assert verdict.decoding.mm < 0.1
    assert verdict.decoding.joints == 14 * 4 * tokenizer.spec.hop * 17


def test_another_encoder_is_seen(tokenizer: TokenizerFiles) -> None:
    """One whose states are lost on the way: every window is encoded as the first."""

    class Forgetful(Encoder):
        def step(self, x: Any, reset: Any, state: Any, **added: Any) -> Any:
            return super().step(x, np.ones_like(reset), state, **added)

    exact = open_encoder(tokenizer, "onnxruntime")
    other = Forgetful(tokenizer.spec, exact._graph, "onnxruntime", "")
    assert compare_encoders(exact, other, short(tokenizer)).equal < 0.97


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_bounds_depend_on_the_precision(precision: Precision, tokenizer: TokenizerFiles) -> None:
    least = 0.999 if precision == "fp32" else 0.97
    decoding = command.Decoding(1e-4, 1.9, 0.0, 10)
    for equal, mm, passed in ((least, 1.9, True), (least - 1e-4, 1.9, False), (1.0, 2.1, False)):
        found = command.Decoding(decoding.box, mm, 0.0, 10)
        verdict = Verdict(command.Encoding(equal, 0.0, 10), found, command.LEAST_EQUAL[precision])
        assert verdict.passed is passed
        assert command.report(verdict)[-1] == ("passed" if passed else "FAILED")


def test_the_command_says_what_it_found_and_ends_accordingly(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--tokenizer", "heatmap2d-f8", "--backend", "onnxruntime", "--batch", "2"]
    assert call(command, flags) == 0
    out = capsys.readouterr().out
    assert "tokens equal        100.000 %  of 5120 (at least 99.9 %)" in out
    assert out.endswith("passed\n")
    assert call(command, [*flags, "--precision", "fp16"]) == 13
    assert "onnxruntime runs in fp32, not in fp16" in capsys.readouterr().err
    monkeypatch.setattr(command, "LEAST_EQUAL", {"fp32": 1.1})
    assert call(command, flags) == 13
    assert capsys.readouterr().out.endswith("FAILED\n")
    assert call(command, [*flags[:-1], "0"]) == 2


def test_a_tokenizer_of_heatmaps_is_refused(tokenizer: TokenizerFiles) -> None:
    spec = msgspec.structs.replace(tokenizer.spec, input="heatmaps")
    with pytest.raises(EngineError, match="takes no keypoints hop by hop: export it with --input keypoints"):
        read_windows(spec, [])


def test_the_built_in_motion_is_the_demos() -> None:
    joints, centre, side = make()
    with np.load(BUILT_IN) as kept:
        np.testing.assert_allclose(kept["centre"], centre, atol=0.1)
        np.testing.assert_allclose(kept["joints"].astype(np.float32), joints.astype(np.float32), atol=2e-3)
        np.testing.assert_allclose(kept["side"], side, rtol=1e-4)


def test_more_people_than_there_are_start_elsewhere(tokenizer: TokenizerFiles) -> None:
    windows = read_windows(tokenizer.spec, [])
    people = len(windows.side)
    crowd = windows.people(2 * people)
    np.testing.assert_array_equal(crowd.keypoints[:people], windows.keypoints)
    assert (crowd.keypoints[people:] != windows.keypoints).any()
    assert windows.people(1).keypoints.shape == (1, *windows.keypoints.shape[1:])


@pytest.mark.parametrize("dims", [2, 3])
def test_recordings_become_windows(dims: int, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(f"heatmap{dims}d-f8")
    rng = np.random.default_rng(0)
    body = rng.uniform(-90, 90, (1, 19, 3)) + np.linspace(0, 300, 130)[:, None, None] * [1, 0, 0.2]
    np.savez(tmp_path / "panoptic.npz", joints=body, fps=60)
    np.savez(tmp_path / "coco.npz", joints=body[:, FROM_PANOPTIC19], fps=60)
    one, other = (read_windows(tokenizer.spec, [tmp_path / f"{name}.npz"]) for name in ("panoptic", "coco"))
    np.testing.assert_array_equal(one.keypoints, other.keypoints)
    assert one.keypoints.shape == (1, 8, 8, 17, dims + 1)
    positions = one.keypoints[..., :-1]
    assert 0 < positions.min() <= positions.max() < 1
    # Back in cm, one frame against another: the body's own shape.
    shape = (positions[0, 3, 2] - positions[0, 3, 2, :1]) * one.side[0, 3]
    inside = body[52, FROM_PANOPTIC19][:, :dims]
    np.testing.assert_allclose(shape, inside - inside[:1], atol=1e-2)


def test_real_recordings_are_read(shared: Path, tokenizer: TokenizerFiles) -> None:
    files = sorted((shared / "data").rglob("*.npz"))
    readable = [file for file in files if {"joints", "fps"} <= set(np.load(file).files)][:2]
    if not readable:
        pytest.skip("no npz recordings among the real ones")
    windows = read_windows(tokenizer.spec, readable)
    assert len(windows.side) == len(readable)
    assert verify(tokenizer, "openvino", "fp32", windows.first(6), batches=(2,)).passed


def test_a_changed_weight_fails(tmp_path: Path, tokenizer: TokenizerFiles) -> None:
    """The decoder of one tokenizer and a slightly bent one of the same name are told apart."""
    graph = onnx.load(str(tokenizer.graph("decoder")))
    bias = next(t for t in graph.graph.initializer if t.dims == [17] or "bias" in t.name)
    array = numpy_helper.to_array(bias) + 0.5
    bias.CopyFrom(numpy_helper.from_array(array.astype(np.float32), bias.name))
    folder = tmp_path / "bent"
    folder.mkdir()
    for file in ("config.json", "encoder.onnx", "model.safetensors"):
        (folder / file).write_bytes((tokenizer.folder / file).read_bytes())
    onnx.save(graph, str(folder / "decoder.onnx"))
    write_sums(folder)
    bent = load_tokenizer(folder)
    assert sha256(bent.graph("decoder")) != sha256(tokenizer.graph("decoder"))
    exact = open_encoder(tokenizer, "onnxruntime"), open_decoder(tokenizer, "onnxruntime")
    assert compare_decoders(exact, open_decoder(bent, "onnxruntime"), short(tokenizer)).mm > 2
