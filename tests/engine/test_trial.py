"""Decoders from elsewhere are tried first: ours pass, slow ones are refused, in bounded time."""

import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from engine.errors import TokenizerError
from engine.graph_check import check_graph
from engine.spec import PRETRAINED
from engine.trial import check_work, try_out
from tokenizer_samples import burdened, products, write_tokenizer


def sized_by_tokens(folder: Path) -> Path:
    """A decoder that makes as many numbers as the ids say."""
    nodes = [
        helper.make_node("ReduceMax", ["tokens"], ["largest id"], keepdims=0),
        helper.make_node("Cast", ["largest id"], ["many"], to=TensorProto.INT64),
        helper.make_node("Mul", ["many", "million"], ["very many"]),
        helper.make_node("Reshape", ["very many", "one axis"], ["size"]),
        helper.make_node("Expand", ["zero", "size"], ["numbers"]),
        helper.make_node("ReduceSum", ["numbers"], ["end"], keepdims=0),
    ]
    return burdened(folder, nodes, {"million": np.array(10**6), "one axis": np.array([1])}, "end")


@pytest.mark.parametrize("folder", sorted(PRETRAINED.iterdir()), ids=lambda folder: folder.name)
def test_the_work_of_ours_is_far_from_the_bounds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.trial.MULTIPLY_ADDS", 5e8)
    monkeypatch.setattr("engine.trial.MOVED", 5e7)
    check_work(folder / "decoder.onnx")


def test_a_sound_decoder_passes_its_trial(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "sound")
    try_out(tmp_path / "sound")
    try_out(products(tmp_path / "heavier", "reset", 64, 20))


def test_products_without_end_are_counted_and_not_run(tmp_path: Path) -> None:
    folder = products(tmp_path / "slow", "reset", 1024, 3000)
    check_graph(folder / "decoder.onnx")  # plain operators, all of them
    with pytest.raises(TokenizerError, match=r"a step takes 3.2e\+12 multiply-adds, more than 4e\+09"):
        try_out(folder)


def test_large_steps_without_a_product_are_counted(tmp_path: Path) -> None:
    nodes = [helper.make_node("Expand", ["reset", "size"], ["s0"])]
    nodes += [helper.make_node("Sigmoid", [f"s{n}"], [f"s{n + 1}"]) for n in range(300)]
    nodes.append(helper.make_node("ReduceMax", ["s300"], ["end"], keepdims=0))
    folder = burdened(tmp_path / "slow", nodes, {"size": np.array([2**20])}, "end")
    with pytest.raises(TokenizerError, match="numbers read and written"):
        try_out(folder)


def test_what_the_tokens_make_large_is_refused(tmp_path: Path) -> None:
    folder = sized_by_tokens(tmp_path / "swelling")
    check_graph(folder / "decoder.onnx")
    with pytest.raises(TokenizerError, match="depends on what goes in"):
        try_out(folder)


def test_constants_that_take_for_ever_to_fold_meet_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.trial.PATIENCE", 3.0)
    folder = products(tmp_path / "folding", "one", 2048, 20_000)
    began = time.monotonic()
    with pytest.raises(TokenizerError, match="within the limits of a trial"):
        try_out(folder)
    assert time.monotonic() - began < 60


def test_a_trial_that_nobody_waits_for_ends(tmp_path: Path) -> None:
    folder = products(tmp_path / "folding", "one", 2048, 20_000)
    asked = iter([False, False, True])
    with pytest.raises(TokenizerError):
        try_out(folder, lambda: next(asked))
