"""Counting arithmetic: against products done by hand, and against PyTorch's own count of the same network."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.utils.flop_counter import FlopCounterMode

from engine.measure.work import count_flop
from engine.spec import load_tokenizer
from training.export import EncoderGraph
from training.model.tokenizer import ModelConfig, TokenizerNetwork


def write(file: Path, node: onnx.NodeProto, x: list[int], weights: tuple[int, ...], y_rank: int) -> Path:
    """Write a graph of one node that maps x, batch free, by random weights."""
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", floats, ["batch", *x])],
        [helper.make_tensor_value_info("y", floats, ["batch", *[None] * (y_rank - 1)])],
        [numpy_helper.from_array(np.random.default_rng(0).random(weights, np.float32), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), file)
    return file


def test_a_matrix_product(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    assert count_flop(write(tmp_path / "one.onnx", node, [5, 7], (7, 3), 3), batch=4) == 2 * 4 * 5 * 7 * 3


@pytest.mark.parametrize(("groups", "inside"), [(1, 6), (3, 2)])
def test_a_strided_convolution(tmp_path: Path, groups: int, inside: int) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1], group=groups)
    file = write(tmp_path / "one.onnx", node, [6, 8, 8], (9, inside, 3, 3), 4)
    assert count_flop(file, batch=2) == 2 * (2 * 9 * 4 * 4) * inside * 3 * 3


def test_a_transposed_convolution(tmp_path: Path) -> None:
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2])
    file = write(tmp_path / "one.onnx", node, [6, 8, 8], (6, 5, 2, 2), 4)
    assert count_flop(file) == 2 * (6 * 8 * 8) * 5 * 2 * 2


def test_a_shipped_encoder_is_counted_as_pytorch_counts_its_network() -> None:
    tokenizer = load_tokenizer("heatmap2d-f8")
    network = TokenizerNetwork(ModelConfig()).eval()
    states = network.encoder.states
    feeds = (torch.zeros(1, 8, 17, 3), torch.zeros(1), *(torch.zeros(1, *shape) for shape in states.values()))
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        EncoderGraph(network)(*feeds)
    assert count_flop(tokenizer.graph("encoder")) == counter.get_total_flops()
    assert count_flop(tokenizer.graph("encoder"), batch=3) == 3 * count_flop(tokenizer.graph("encoder"))
