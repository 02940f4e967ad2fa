"""An engine that does not fit, a driver without a GPU, too little memory: each is refused in one clear line."""

import ctypes
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.errors import EngineError, TokenizerError
from engine.session import open_encoder
from engine.spec import TokenizerFiles, load_tokenizer, sha256
from engine.tensorrt import cuda, cuda_graph
from engine.tensorrt import manifest as manifests
from engine.tensorrt import runtime as tensorrt
from gpu_fakes import FakeDriver
from tensorrt_rig import Rig


@pytest.mark.parametrize("fails", ["first step", "pinned memory"])
def test_an_engine_that_fails_late_leaves_the_work_to_the_others(
    rig: Rig, tokenizer: TokenizerFiles, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise rig.driver.MemoryError("cuMemHostAlloc failed: out of memory")

    monkeypatch.setattr(rig.driver, "memcpy_htod_async" if fails == "first step" else "pagelocked_empty", fail)
    with pytest.raises(EngineError, match="CUDA error on Fake 4090: cuMemHostAlloc failed: out of memory"):
        open_encoder(tokenizer, "tensorrt")
    encoder = open_encoder(tokenizer)
    assert encoder.backend in ("openvino", "onnxruntime")
    assert "not tensorrt: CUDA error on Fake 4090" in encoder.why


def test_a_damaged_manifest_of_something_else_does_not_hide_the_advice(rig: Rig, tokenizer: TokenizerFiles) -> None:
    other = manifests.engines_folder() / "aaa"
    other.mkdir()
    (other / "manifest.json").write_text("{", encoding="utf-8")
    assert open_encoder(tokenizer, "tensorrt").backend == "tensorrt"
    rig.change(precision="fp16")
    with pytest.raises(EngineError, match=r"^no TensorRT engine of .* yet: python -m engine\.build .*; .*aaa/manifest"):
        open_encoder(tokenizer, "tensorrt")


def test_a_tokenizer_of_ones_own_is_built_again_from_its_folder(
    rig: Rig, tokenizer: TokenizerFiles, tmp_path: Path
) -> None:
    mine = load_tokenizer(shutil.copytree(tokenizer.folder, tmp_path / "mine"))
    rig.change(version="10.1")
    with pytest.raises(EngineError, match=rf"build again: python -m engine\.build --tokenizer {mine.folder} "):
        open_encoder(mine, "tensorrt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"version": "10.1"},
            r"built with tensorrt 10\.1, but 10\.9 is installed; build again: python -m engine\.build",
        ),
        ({"flavour": "tensorrt_rtx"}, r"needs tensorrt_rtx, which is not installed: pip install 'kinetoken\[tensorrt-"),
        ({"capabilities": ("8.6", "12.0"), "gpu": None}, r"built for 8\.6, 12\.0, this Fake 4090 has .* 8\.9; build"),
        ({"gpu": "Fake 3090"}, "built on Fake 3090, but this machine has Fake 4090; build again"),
        ({"weights_hash": "0" * 64}, r"no TensorRT engine of heatmap2d-f8@.* in fp32 .*yet: python -m engine\.build"),
        ({"precision": "fp16"}, r"no TensorRT engine of heatmap2d-f8@.* in fp32 .*yet: python -m engine\.build"),
        ({"format": 0}, "of another version of kinetoken: build the engine again"),
    ],
)
def test_an_engine_that_does_not_fit_is_refused(
    rig: Rig, tokenizer: TokenizerFiles, change: dict[str, Any], message: str
) -> None:
    rig.change(**change)
    with pytest.raises(EngineError, match=message):
        open_encoder(tokenizer, "tensorrt")
    encoder = open_encoder(tokenizer)
    assert encoder.backend in ("openvino", "onnxruntime")
    assert "not tensorrt: " in encoder.why


def test_an_engine_of_other_graphs_is_not_taken(rig: Rig, tokenizer: TokenizerFiles) -> None:
    parts = manifests.read_manifest(rig.folder).parts
    rig.change(parts=parts | {"decoder": msgspec.structs.replace(parts["decoder"], onnx="0" * 64)})
    with pytest.raises(EngineError, match="no TensorRT engine"):
        open_encoder(tokenizer, "tensorrt")


def test_a_damaged_or_open_engine_is_refused(rig: Rig, tokenizer: TokenizerFiles) -> None:
    file = rig.folder / "encoder.engine"
    file.chmod(0o666)
    with pytest.raises(EngineError, match="can be written by others, and an engine is code"):
        open_encoder(tokenizer, "tensorrt")
    file.chmod(0o600)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(EngineError, match=r"encoder\.engine is damaged: its sha256"):
        open_encoder(tokenizer, "tensorrt")
    file.write_bytes(b"broken")
    parts = manifests.read_manifest(rig.folder).parts
    rig.change(parts=parts | {"encoder": msgspec.structs.replace(parts["encoder"], engine=sha256(file))})
    with pytest.raises(EngineError, match="does not load the engine: magic tag does not match"):
        open_encoder(tokenizer, "tensorrt")
    (rig.folder / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(EngineError, match=r"manifest\.json cannot be read"):
        open_encoder(tokenizer, "tensorrt")


def test_too_little_memory_is_said_with_the_figures(rig: Rig, tokenizer: TokenizerFiles) -> None:
    rig.driver.total = 1 << 20
    with pytest.raises(EngineError, match=r"too little memory on the Fake 4090: \d+ MiB needed, \d+ MiB free; close"):
        open_encoder(tokenizer, "tensorrt")


def open_driver(monkeypatch: pytest.MonkeyPatch, driver: Any) -> None:
    monkeypatch.setattr(cuda, "_found", [])
    monkeypatch.setattr(cuda, "driver_library", lambda: None)
    monkeypatch.setitem(sys.modules, "pycuda", type("pycuda", (), {"driver": driver}))
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)


def test_a_driver_without_a_gpu_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    open_driver(monkeypatch, FakeDriver(devices=0))
    with pytest.raises(EngineError, match=r"^no NVIDIA GPU here: use --backend openvino$"):
        cuda.gpu()

    def fail() -> None:
        raise driver.Error("cuInit failed: no CUDA-capable device is detected")

    driver = FakeDriver()
    driver.init = fail  # type: ignore[method-assign]
    open_driver(monkeypatch, driver)
    with pytest.raises(EngineError, match=r"can be used here \(cuInit failed: no CUDA-capable device is detected\)"):
        cuda.gpu()


def test_no_pycuda_and_no_driver_are_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_found", [])
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setattr(cuda, "driver_library", lambda: None)
    with pytest.raises(EngineError, match="pycuda is not installed: pip install pycuda"):
        cuda.gpu()
    monkeypatch.undo()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
    cuda_graph.driver_library.cache_clear()
    monkeypatch.setattr(cuda, "_found", [])
    with pytest.raises(EngineError, match=r"^no NVIDIA driver here: install it, or use --backend openvino$"):
        cuda.gpu()
    cuda_graph.driver_library.cache_clear()


def test_without_tensorrt_the_backend_says_what_to_install(
    tokenizer: TokenizerFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt, "present", lambda: False)
    with pytest.raises(TokenizerError, match=r"tensorrt is not installed .*pip install 'kinetoken\[tensorrt\]'"):
        open_encoder(tokenizer, "tensorrt")
    assert "tensorrt" not in open_encoder(tokenizer).why  # nobody asked for it
