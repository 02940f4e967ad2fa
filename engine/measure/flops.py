"""How much arithmetic a graph asks for, counted from the graph itself."""

import math
from pathlib import Path
from typing import Any

from engine.backends.openvino import read


def count_flop(file: Path, batch: int = 1) -> int:
    """Return the floating-point operations of one run of an ONNX graph: two for each multiply-add of its products.

    Matrix products and convolutions count; norms, activations and moves, a few percent of the work, do not.
    """
    return 2 * sum(_multiply_adds(node) for node in read(file, batch).get_ordered_ops())


def _multiply_adds(node: Any) -> int:
    kind = node.get_type_name()
    if kind == "MatMul":
        left = _shape(node.input(0))
        turned = node.get_attributes()["transpose_a"] and len(left) > 1
        return math.prod(_shape(node.output(0))) * (left[-2] if turned else left[-1])
    if kind in ("Convolution", "GroupConvolution"):
        weights = _shape(node.input(1))  # [out, in, *kernel], or with the groups before
        return math.prod(_shape(node.output(0))) * math.prod(weights[1:] if kind == "Convolution" else weights[2:])
    if kind == "ConvolutionBackpropData":
        weights = _shape(node.input(1))  # [in, out, *kernel]
        return math.prod(_shape(node.input(0))) * math.prod(weights[1:])
    return 0


def _shape(port: Any) -> list[int]:
    return [int(size) for size in port.get_shape()]
