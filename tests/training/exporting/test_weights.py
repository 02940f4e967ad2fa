"""How weights are stored: bytes that every engine computes rightly, and what is refused."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.backends.openvino import OpenVinoGraph
from training.exporting.graphs import write_graph
from training.exporting.weights import round_network, share_weights

SIDE = 64


class Product(nn.Module):
    """A product with a matrix that is stored as [out, in], or as [in, out]."""

    def __init__(self, turned: bool) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(SIDE, 2 * SIDE) * torch.logspace(-3, 3, SIDE)[:, None])
        self.turned = turned

    def forward(self, x: Tensor, reset: Tensor) -> Tensor:
        """[B, in] -> [B, out]."""
        x = x * (1 - reset[:, None])
        return (x @ self.matrix if self.turned else F.linear(x, self.matrix),)  # type: ignore[return-value]


def exported(network: Product, folder: Path) -> Path:
    torch.manual_seed(0)
    graph, size = folder / "graph.onnx", SIDE if network.turned else 2 * SIDE
    round_network(network, lambda name, tensor: "bytes")
    write_graph(network, graph, {"x": torch.randn(2, size)}, ["y"], {})
    share_weights([graph], folder / "model.safetensors", {"matrix": network.matrix.data}, lambda name, tensor: "bytes")
    return graph


def test_a_matrix_in_bytes_gives_what_the_network_gives(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = Product(turned=False)
    graph = exported(network, tmp_path)
    x = np.random.default_rng(0).standard_normal((2, 2 * SIDE)).astype(np.float32)
    feeds = {"x": x, "reset": np.zeros(2, np.float32)}
    with torch.no_grad():
        right = x @ network.matrix.numpy().T
    np.testing.assert_allclose(onnxruntime.InferenceSession(str(graph)).run(["y"], feeds)[0], right, rtol=1e-4)
    np.testing.assert_allclose(OpenVinoGraph(graph).run(feeds)["y"], right, rtol=1e-4, atol=1e-4)


def test_a_matrix_whose_scales_run_along_the_sum_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"matrix is stored as bytes with a scale per input: keep it as \[out, in\]"):
        exported(Product(turned=True), tmp_path)
