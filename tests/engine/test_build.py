"""Real engines, built with TensorRT for RTX on the CPU; what stands in their manifests; what is refused."""

import stat
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from commands import call
from engine import build, info
from engine.build import Wanted, build_tensorrt
from engine.errors import EngineError
from engine.int8 import calibration
from engine.sample_windows import read_windows
from engine.spec import TokenizerFiles, load_tokenizer, shipped, write_sums
from engine.tensorrt import manifest as manifests
from engine.tensorrt.compiler import DEFAULT_ARCHITECTURES, architectures, compile_graph
from engine.tensorrt.library import TensorRtLibrary, load_flavour
from engine.tensorrt.manifest import Profile
from engine.tensorrt.precision import _half_tensor, halve, load_graph, quantize
from tokenizer_samples import write_encoder, write_tokenizer

pytest.importorskip("tensorrt_rtx", reason="real engines are built with tensorrt_rtx, which is not installed")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KINETOKEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def flavour() -> TensorRtLibrary:
    return load_flavour("tensorrt_rtx")


@pytest.fixture
def sample(tmp_path: Path) -> TokenizerFiles:
    """A tiny tokenizer."""
    write_tokenizer(tmp_path / "tiny")
    write_encoder(tmp_path / "tiny" / "encoder.onnx")
    write_sums(tmp_path / "tiny")
    return load_tokenizer(tmp_path / "tiny")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("name", shipped())
def test_shipped_tokenizers_build_and_their_manifests_read_back(
    name: str, precision: Literal["fp32", "fp16", "bf16"], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = load_tokenizer(name)
    folder = build_tensorrt(tokenizer, Wanted(precision=precision, max_batch=16, architectures=("8.9",)))
    assert folder.parent == cache / "tensorrt"
    found = manifests.read_manifest(folder)
    assert (found.tokenizer, found.weights_hash) == (name, tokenizer.spec.weights_hash)
    assert (found.precision, found.capabilities, found.gpu) == (precision, ("8.9",), None)
    assert (found.profile.least, found.profile.most) == (1, 16)
    encoder = found.parts["encoder"]
    assert encoder.inputs["x"].shape == (-1, *tokenizer.spec.input_shape)
    assert encoder.outputs["tokens"].shape == (-1, *tokenizer.spec.token_grid)
    assert encoder.outputs["tokens"].dtype == "int32"
    # Whatever it computes in, what goes in and out is float32.
    states = {f"state.{path}": (-1, *shape) for path, shape in tokenizer.spec.encoder_states.items()}
    assert {n: t.shape for n, t in encoder.inputs.items() if n.startswith("state.")} == states
    ports = [*encoder.inputs.values(), *encoder.outputs.values(), *found.parts["decoder"].inputs.values()]
    assert {port.dtype for port in ports} == {"float32", "int32"}
    for part in manifests.PARTS:
        assert len(manifests.load_part(folder, found, part)) == found.parts[part].size
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (folder, cache / "tensorrt")}
    assert modes == {0o700}
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.glob("*.engine")} == {0o600}
    assert "built: " in capsys.readouterr().out
    said = "\n".join(info.describe_engine(folder))
    assert f"tokenizer  {tokenizer.spec.label}" in said
    assert f"precision  {precision}" in said


def test_half_precision_is_smaller(cache: Path, flavour: TensorRtLibrary) -> None:
    graph, file = load_graph(load_tokenizer("heatmap2d-f8").graph("encoder")), Path("encoder.onnx")
    sizes = [
        len(compile_graph(flavour, each.SerializeToString(), file, Profile(1, 1, 2), ("8.9",), 64, None).data)
        for each in (graph, halve(graph, "bf16"))
    ]
    assert sizes[1] < 0.8 * sizes[0]


def test_the_second_build_says_it_is_there_and_force_builds_again(
    sample: TokenizerFiles, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--tokenizer", str(sample.folder), "--backend", "tensorrt", "--max-batch", "4", "--gpu-arch", "8.9", "8.6"]
    assert call(build, argv) == 0
    (folder,) = (cache / "tensorrt").glob("running-sum-*")
    assert manifests.read_manifest(folder).capabilities == ("8.6", "8.9")
    first = (folder / "encoder.engine").stat().st_mtime_ns
    capsys.readouterr()
    assert call(build, argv) == 0
    assert "already built" in capsys.readouterr().out
    assert (folder / "encoder.engine").stat().st_mtime_ns == first
    assert call(build, [*argv, "--force"]) == 0
    assert "built: " in capsys.readouterr().out
    assert (folder / "encoder.engine").stat().st_mtime_ns > first
    # A damaged engine is built again without being asked.
    (folder / "decoder.engine").write_bytes(b"")
    assert call(build, argv) == 0
    assert "built: " in capsys.readouterr().out
    assert [path.name for path in (cache / "tensorrt").iterdir()] == [folder.name]


def test_out_and_info(sample: TokenizerFiles, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--tokenizer", str(sample.folder), "--backend", "tensorrt", "--out", str(tmp_path / "out")]
    assert call(build, argv) == 0
    (folder,) = (tmp_path / "out").iterdir()
    capsys.readouterr()
    for what in (folder, folder / "decoder.engine"):
        assert call(info, [str(what)]) == 0
        out = capsys.readouterr().out
        assert "made for   8.6, 8.9, 12.0" in out
        assert "joints float32 [-1, 8, 17, 2]" in out
        assert "here       " in out
    assert call(info, [str(sample.folder)]) == 0
    assert f"none yet: python -m engine.build --tokenizer {sample.folder} --backend" in capsys.readouterr().out
    assert call(info, [str(tmp_path / "nothing")]) == 5
    assert "no tokenizer" in capsys.readouterr().err
    (folder / "manifest.json").write_text("{}", encoding="utf-8")
    assert call(info, [str(folder)]) == 13
    assert "cannot be read" in capsys.readouterr().err


def test_an_unsupported_layer_is_refused_in_the_parsers_words(
    sample: TokenizerFiles, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(str(sample.graph("decoder")))
    node = next(node for node in model.graph.node if node.output[0] == "joints")
    node.op_type, node.domain, node.name = "Wave", "kinetoken.test", "the-wave"
    model.opset_import.append(helper.make_opsetid("kinetoken.test", 1))
    onnx.save(model, str(sample.graph("decoder")))
    write_sums(sample.folder)
    assert call(build, ["--tokenizer", str(sample.folder), "--backend", "tensorrt"]) == 13
    said = capsys.readouterr().err
    assert said.startswith("error: tensorrt_rtx cannot take ")
    assert "decoder.onnx: " in said
    assert "Wave" in said
    assert said.count("\n") == 1
    assert not [*(cache / "tensorrt").iterdir()]  # nothing half-built stays


def test_a_graph_that_is_not_what_the_configuration_says_is_not_built(
    sample: TokenizerFiles, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample.graph("decoder").write_bytes(sample.graph("encoder").read_bytes())
    write_sums(sample.folder)
    assert call(build, ["--tokenizer", str(sample.folder), "--backend", "tensorrt"]) == 5
    assert "decoder.onnx does not fit" in capsys.readouterr().err
    assert not [*(cache / "tensorrt").iterdir()]


def test_without_a_place_for_engines_what_needs_none_goes_on(
    sample: TokenizerFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("KINETOKEN_CACHE", str(tmp_path / "file"))
    assert (
        call(build, ["--tokenizer", str(sample.folder), "--backend", "tensorrt", "--out", str(tmp_path / "out")]) == 0
    )
    assert call(info, [str(sample.folder)]) == 0
    assert "cannot create the engine cache" in capsys.readouterr().out
    assert call(build, ["--tokenizer", str(sample.folder), "--backend", "openvino"]) == 13
    assert "cannot create the cache of compiled graphs" in capsys.readouterr().err


def test_one_tensorrt_has_one_logger_for_the_whole_process(sample: TokenizerFiles, flavour: TensorRtLibrary) -> None:
    # It calls the first one for ever: another that took its place, and went, would be called after its end.
    assert load_flavour("tensorrt_rtx") is flavour
    flavour.log.log(flavour.module.ILogger.ERROR, "of  something\nelse")
    assert flavour.why() == "of something else"
    data = load_graph(sample.graph("encoder")).SerializeToString()
    compile_graph(flavour, data, sample.graph("encoder"), Profile(1, 1, 2), ("8.9",), 64, None)
    assert flavour.why() == "it gives no reason"


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--gpu-arch", "9.0"], 13, "not for 9.0: for such a GPU, pip install 'kinetoken[tensorrt]' and build there"),
        (["--precision", "int8", "--data", "nowhere.npz"], 13, "nowhere.npz is not a recording"),
    ],
)
def test_bad_wishes_are_refused(
    flags: list[str], code: int, message: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(build, ["--tokenizer", "heatmap2d-f8", "--backend", "tensorrt", *flags]) == code
    assert message in capsys.readouterr().err


def test_bad_flags_end_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for flags in (["--max-batch", "0"], ["--workspace", "0"]):
        assert call(build, ["--tokenizer", "heatmap2d-f8", "--backend", "tensorrt", *flags]) == 2
    for flags in (["--force"], ["--workspace", "64"]):
        assert call(build, ["--tokenizer", "heatmap2d-f8", "--backend", "openvino", *flags]) == 2
        assert "are TensorRT's" in capsys.readouterr().err
    assert call(build, ["--tokenizer", "heatmap2d-f8", "--backend", "tensorrt", "--data", "walk.npz"]) == 2
    assert "--data calibrates int8 and is not used in fp32" in capsys.readouterr().err


def test_openvino_fills_its_cache(sample: TokenizerFiles, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = load_tokenizer("heatmap2d-f8")
    build.build_openvino(tokenizer, "fp32", 1)
    assert [*(cache / "openvino").iterdir()]
    assert "decoder: compiled" in capsys.readouterr().out


def test_architectures_are_those_the_library_knows(flavour: TensorRtLibrary) -> None:
    assert set(DEFAULT_ARCHITECTURES) <= set(architectures(flavour))
    assert "9.0" not in architectures(flavour)


# --- precision ---


def feeds_of(tokenizer: TokenizerFiles, part: Any) -> list[dict[str, NDArray[Any]]]:
    windows = read_windows(tokenizer.spec, [])
    return list(calibration(tokenizer, part, windows.people(2).first(6)))


def run(model: onnx.ModelProto, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([node.name for node in session.get_outputs()], session.run(None, feeds), strict=True))


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_graph_with_weights_inside_and_one_in_half_give_the_same(part: Any) -> None:
    tokenizer = load_tokenizer("heatmap2d-f8")
    graph = load_graph(tokenizer.graph(part))
    feeds = feeds_of(tokenizer, part)[-1]
    outside = onnxruntime.InferenceSession(str(tokenizer.graph(part)), providers=["CPUExecutionProvider"])
    exact = dict(zip([node.name for node in outside.get_outputs()], outside.run(None, feeds), strict=True))
    inside, half = run(graph, feeds), run(halve(graph, "fp16"), feeds)
    results = {"tokens", "latent"} if part == "encoder" else {"joints", "confidence"}
    for name in results - {"tokens"}:
        np.testing.assert_allclose(inside[name], exact[name], atol=1e-5)
        np.testing.assert_allclose(half[name], exact[name], atol=2e-3)
        assert half[name].dtype == np.float32
        assert (half[name] != exact[name]).any()
    if part == "encoder":
        assert (half["tokens"] == exact["tokens"]).mean() >= 0.97


def _types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    values = [*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input]
    known = {value.name: value.type.tensor_type.elem_type for value in values}
    return known | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_distances_norms_and_the_residual_stream_stay_in_float32(precision: Literal["fp16", "bf16"]) -> None:
    half = TensorProto.FLOAT16 if precision == "fp16" else TensorProto.BFLOAT16
    graph = halve(load_graph(load_tokenizer("heatmap2d-f8").graph("encoder")), precision)
    types = _types(graph)
    products = [node for node in graph.graph.node if node.op_type == "MatMul"]
    assert sum(types[node.input[0]] == half for node in products) > 0.9 * len(products)
    distance = products[-1]  # the codebook
    assert types[distance.input[0]] == types[distance.input[1]] == TensorProto.FLOAT
    for node in graph.graph.node:
        if node.op_type in ("LayerNormalization", "Softmax", "ReduceL2", "ArgMax", "Exp", "Div"):
            assert types[node.input[0]] in (TensorProto.FLOAT, TensorProto.INT64)
    assert {types[port.name] for port in graph.graph.output} <= {TensorProto.FLOAT, TensorProto.INT32}


def test_bfloat16_is_rounded_to_even() -> None:
    value = np.array([1.0, 1.00390625, 1.01171875, -3.1415927, 1e-40], np.float32)
    tensor = _half_tensor(value, "x", "bf16")
    np.testing.assert_array_equal(numpy_helper.to_array(tensor).astype(np.float32)[:3], [1.0, 1.0, 1.015625])


def test_int8_has_symmetric_scales_and_leaves_the_first_products(tmp_path: Path, flavour: TensorRtLibrary) -> None:
    tokenizer = load_tokenizer("heatmap2d-f8")
    graph = load_graph(tokenizer.graph("encoder"))
    feeds = feeds_of(tokenizer, "encoder")
    quantized, kept, products = quantize(graph, feeds, tmp_path, share=1 / 3)
    assert 0 < kept < products
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer}
    pairs = [node for node in quantized.graph.node if node.op_type == "DequantizeLinear"]
    assert len(pairs) >= 2 * (products - kept) - products // 3  # an input may serve several products
    assert all((constants[node.input[2]] == 0).all() for node in pairs)
    exact, found = run(graph, feeds[-1]), run(quantized, feeds[-1])
    assert (exact["tokens"] == found["tokens"]).mean() >= 0.9
    assert (exact["latent"] != found["latent"]).any()
    data = quantized.SerializeToString()
    assert compile_graph(flavour, data, tokenizer.graph("encoder"), Profile(1, 1, 2), ("8.9",), 64, None).data


def test_a_recording_too_short_or_of_another_shape_is_refused(tmp_path: Path) -> None:
    spec = load_tokenizer("heatmap3d-f8").spec
    cases = {
        "shape": (np.zeros((30, 18, 3)), 30, "joints must be"),
        "short": (np.zeros((3, 17, 3)), 30, "shorter than one hop"),
        "still": (np.zeros((30, 17, 3)), 30, "all joints are in one place"),
        "gap": (np.full((30, 17, 3), np.nan), 30, "no joint is known"),
    }
    for name, (joints, fps, message) in cases.items():
        np.savez(tmp_path / f"{name}.npz", joints=joints, fps=fps)
        with pytest.raises(EngineError, match=message):
            read_windows(spec, [tmp_path / f"{name}.npz"])
