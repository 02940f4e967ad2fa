"""Fixtures of the TensorRT tests."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.spec import TokenizerFiles, load_tokenizer
from engine.tensorrt import cuda, cuda_graph
from engine.tensorrt import manifest as manifests
from gpu_fakes import FakeDriver, FakeGraph
from tensorrt_rig import NAME, Rig, install, write_engine


@pytest.fixture
def tokenizer() -> TokenizerFiles:
    return load_tokenizer(NAME)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fake") / "engine"
    write_engine(folder, load_tokenizer(NAME))
    return folder


@pytest.fixture
def rig(engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setenv("KINETOKEN_CACHE", str(tmp_path))
    folder = shutil.copytree(engine, manifests.engines_folder() / "one")
    driver, graphs = FakeDriver(), list[FakeGraph]()
    install(monkeypatch, driver)

    def record(stream: int, work: Callable[[], None]) -> FakeGraph:
        graphs.append(driver.record(stream, work))
        return graphs[-1]

    monkeypatch.setattr(cuda_graph, "record", record)
    yield Rig(driver, Path(folder), graphs)
    cuda._close()
    assert driver.depth == 0
