"""A stand-in GPU (`gpu_fakes`) with an engine for it in the cache."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.sample_windows import Windows, read_windows
from engine.spec import TokenizerFiles, sha256
from engine.tensorrt import cuda
from engine.tensorrt import manifest as manifests
from engine.tensorrt import runtime as tensorrt
from engine.tensorrt.library import TensorRtLibrary
from engine.tensorrt.manifest import Manifest, Tensor
from engine.tensorrt.precision import load_graph
from gpu_fakes import FakeDriver, FakeGraph, fake_tensorrt

MOST = 4
NAME = "heatmap2d-f8"


def short(tokenizer: TokenizerFiles) -> Windows:
    """A few hops of the built-in motion, with resets and exchanges among them."""
    return read_windows(tokenizer.spec, []).first(14)


@dataclass
class Rig:
    """A stand-in GPU with an engine for it in the cache."""

    driver: FakeDriver
    folder: Path
    graphs: list[FakeGraph]

    def change(self, **fields: Any) -> None:
        """Change the manifest."""
        manifests.write_manifest(self.folder, msgspec.structs.replace(manifests.read_manifest(self.folder), **fields))


def write_engine(folder: Path, tokenizer: TokenizerFiles) -> None:
    """Write an engine that the stand-ins run: the graphs themselves."""
    folder.mkdir(mode=0o700, parents=True)
    parts = {}
    for part in manifests.PARTS:
        graph = load_graph(tokenizer.graph(part))
        file = folder / f"{part}.engine"
        file.write_bytes(graph.SerializeToString())
        ports = []
        for each in (graph.graph.input, graph.graph.output):
            sizes = {p.name: tuple(d.dim_value or -1 for d in p.type.tensor_type.shape.dim) for p in each}
            whole = {name: Tensor(size, "int32" if name == "tokens" else "float32") for name, size in sizes.items()}
            ports.append(whole)
        parts[part] = manifests.PartManifest(
            onnx=sha256(tokenizer.graph(part)),
            engine=sha256(file),
            size=file.stat().st_size,
            inputs=ports[0],
            outputs=ports[1],
        )
    found = Manifest(
        format=manifests.FORMAT,
        tokenizer=tokenizer.spec.name,
        weights_hash=tokenizer.spec.weights_hash,
        flavour="tensorrt",
        version="10.9",
        precision="fp32",
        capabilities=("8.9",),
        gpu="Fake 4090",
        profile=manifests.Profile(1, 2, MOST),
        workspace_mib=64,
        calibration=None,
        parts=parts,
    )
    manifests.write_manifest(folder, found)


def install(monkeypatch: pytest.MonkeyPatch, driver: FakeDriver) -> None:
    def open_fake() -> cuda.Gpu:
        return cuda.Gpu(driver)

    flavour = TensorRtLibrary("tensorrt", "10.9", fake_tensorrt(driver))
    monkeypatch.setattr(cuda, "_found", [])
    monkeypatch.setattr(cuda, "_open", open_fake)
    monkeypatch.setattr(tensorrt, "installed", lambda: [flavour])
    monkeypatch.setattr(tensorrt, "present", lambda: True)
