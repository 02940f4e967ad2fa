"""Predictive tokenizers in the engine: what goes in beside the joints, and levels that are left out."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from commands import call
from engine import build, verify
from engine import info as info_command
from engine.backends.openvino import read
from engine.backends.openvino_split import cut
from engine.bench import bench
from engine.errors import TokenizerError
from engine.graph_check import check_graph
from engine.sample_windows import read_windows, usual_added
from engine.session import open_decoder, open_encoder
from engine.spec import Part, TokenizerFiles, load_tokenizer, write_sums
from predictive_samples import HOP, LEVELS, write_predictive

BOX = np.array([[50, 60, 200]], np.float32)
NO, YES = np.array([False]), np.array([True])


@pytest.fixture
def tokenizer(tmp_path: Path) -> TokenizerFiles:
    return write_predictive(tmp_path / "half-way")


def body(x: float, y: float) -> np.ndarray:
    """A hop with all joints in one place of the box."""
    return np.full((1, HOP, 17, 3), [x, y, 1], np.float32)


def rate(levels: float = LEVELS, tolerance: float = 0) -> dict[str, np.ndarray]:
    return {"levels": np.array([levels], np.float32), "tolerance": np.array([tolerance], np.float32)}


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_any_first_levels_decode_to_what_the_encoder_foretells(tokenizer: TokenizerFiles, backend: str) -> None:
    encoder, decoder = open_encoder(tokenizer, backend), open_decoder(tokenizer, backend)  # type: ignore[arg-type]
    state, back = encoder.init_state(1), decoder.init_state(1)
    apart = []
    for levels in (0, 1, 2, 3):
        encoded, state = encoder.step(body(0.7, 0.2), YES, state, box=BOX, **rate(levels))
        assert (encoded.tokens.reshape(-1) >= 0).tolist() == [n < levels for n in range(LEVELS)]
        decoded, back = decoder.step(encoded.tokens, YES, back, box=BOX)
        np.testing.assert_allclose(decoded.joints, encoded.numbers, atol=1e-6)
        apart.append(np.linalg.norm(decoded.joints - [0.7, 0.2], axis=-1).mean())
    assert apart == sorted(apart, reverse=True)
    assert apart[-1] < 0.5 / 4**LEVELS


def test_a_tolerance_takes_as_few_levels_as_it_needs(tokenizer: TokenizerFiles) -> None:
    encoder = open_encoder(tokenizer, "onnxruntime")
    state = encoder.init_state(1)
    used = []
    for _ in range(6):
        encoded, state = encoder.step(body(0.53, 0.52), NO, state, box=BOX, **rate(tolerance=0.05))
        used.append(int((encoded.tokens >= 0).sum()))
    assert used == [0] * 6  # what it foretells is near enough
    encoded, _ = encoder.step(body(0.9, 0.2), NO, state, box=BOX, **rate(tolerance=0.05))
    assert 0 < (encoded.tokens >= 0).sum() < LEVELS


def test_without_levels_the_motion_before_goes_on_in_the_new_box(tokenizer: TokenizerFiles) -> None:
    encoder, decoder = open_encoder(tokenizer, "onnxruntime"), open_decoder(tokenizer, "onnxruntime")
    encoded, _ = encoder.step(body(0.75, 0.5), YES, encoder.init_state(1), box=BOX, **rate())
    decoded, state = decoder.step(encoded.tokens, YES, decoder.init_state(1), box=BOX)
    at = BOX[0, :2] + (decoded.joints[0, 0, 0] - 0.5) * 200
    nothing = np.full((1, LEVELS, 1, 1, 1), -1)
    moved = BOX + np.array([[40, 0, 0]], np.float32)
    guessed, _ = decoder.step(nothing, NO, state, box=moved)
    np.testing.assert_allclose(guessed.joints[0, 0, 0], 0.5 + (at - moved[0, :2]) / 200 / 2, atol=1e-6)


def test_steps_say_what_they_need(tokenizer: TokenizerFiles) -> None:
    encoder, decoder = open_encoder(tokenizer, "onnxruntime"), open_decoder(tokenizer, "onnxruntime")
    with pytest.raises(ValueError, match=r"a step takes box \[B, 3\], levels \[B\], tolerance \[B\]"):
        encoder.step(body(0.5, 0.5), NO, encoder.init_state(1))
    with pytest.raises(ValueError, match=r"a step takes box \[B, 3\]"):
        decoder.step(np.zeros((1, LEVELS, 1, 1, 1)), NO, decoder.init_state(1))
    with pytest.raises(ValueError, match=r"ids must be in -1..15"):
        decoder.step(np.full((1, LEVELS, 1, 1, 1), -2), NO, decoder.init_state(1), box=BOX)
    plain = open_encoder("heatmap2d-f8", "onnxruntime")
    x = np.zeros((1, *plain.spec.input_shape), np.float32)
    with pytest.raises(ValueError, match="a step takes nothing else"):
        plain.step(x, NO, plain.init_state(1), box=BOX)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("token_grid", (3, 1, 2, 2), r"token grid \(3, 1, 2, 2\) must be levels x 1 x 1 x 1"),
        ("input", "heatmaps", "a predictive tokenizer is causal and takes keypoints"),
        ("causal", False, "a predictive tokenizer is causal and takes keypoints"),
        ("kind", "heatmap", "grid, strides and sigma must be positive"),
    ],
)
def test_unsound_configurations_are_refused(tokenizer: TokenizerFiles, field: str, value: object, why: str) -> None:
    spec = msgspec.structs.replace(tokenizer.spec, **{field: value})
    (tokenizer.folder / "config.json").write_bytes(msgspec.json.encode(spec))
    write_sums(tokenizer.folder)
    with pytest.raises(TokenizerError, match=why):
        load_tokenizer(tokenizer.folder)


def test_both_cpu_engines_pass_and_the_report_says_what_counts(
    tokenizer: TokenizerFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--tokenizer", str(tokenizer.folder), "--backend", "openvino", "--batch", "1", "3"]
    assert call(verify, flags) == 0
    out = capsys.readouterr().out
    assert "error of the tokens" in out
    assert "against float32's (at most +0.1 mm)" in out


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_it_stays_in_float32_whatever_is_asked(tokenizer: TokenizerFiles, part: Part) -> None:
    assert [precision for _, precision in cut(read(tokenizer.graph(part), 1))] == ["f32"]
    check_graph(tokenizer.graph(part))


def test_int8_is_refused(tokenizer: TokenizerFiles, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--tokenizer", str(tokenizer.folder), "--backend", "tensorrt", "--precision", "int8"]
    assert call(build, [*flags, "--gpu-arch", "8.9"]) == 13
    assert "predicts in float32 only: take --precision fp32" in capsys.readouterr().err


def test_it_is_timed_and_described(tokenizer: TokenizerFiles, capsys: pytest.CaptureFixture[str]) -> None:
    rows, _ = bench(tokenizer, "encoder", 2, {("onnxruntime", "fp32"): open_encoder(tokenizer, "onnxruntime")}, 0.0)
    assert rows[0].batch == 2
    assert call(info_command, [str(tokenizer.folder)]) == 0
    assert "3 x 1 x 1 x 1 of 16, any first levels, at most 45 bit/s a person" in capsys.readouterr().out


def test_windows_of_any_hop_carry_their_boxes(tokenizer: TokenizerFiles) -> None:
    for hop in (4, 8, 16):
        spec = msgspec.structs.replace(tokenizer.spec, hop=hop, window=hop)
        windows = read_windows(spec, [])
        places = (windows.keypoints[..., :2] - 0.5) * windows.side[..., None, None, None]
        places += windows.box[:, :, None, None, :2]
        steps = np.abs(np.diff(places.reshape(len(places), -1, 17, 2), axis=1))
        assert steps.max() < 30  # cm a frame: no jump where the box moves
    assert usual_added(tokenizer.spec, "decoder", 2)["box"].tolist() == [[0, 0, 200]] * 2
