"""How much work one run of a graph asks for, told from the sizes of what goes through it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.backends.openvino import read

FREE = {"Constant", "Parameter", "Result"}

SORTING = 16
"""How much more than a copy a search for the largest of many numbers costs for each of them."""


@dataclass(frozen=True)
class Work:
    """What one run asks for. multiply_adds: of products; moved: numbers that all operators read and write."""

    multiply_adds: int
    moved: int


def work_of(file: Path, batch: int = 1) -> Work:
    """Return what one run of an ONNX graph asks for.

    Raises ValueError where that cannot be told beforehand: some size depends on what the inputs hold.
    """
    products = moved = 0
    for node in read(file, batch).get_ordered_ops():
        if node.get_type_name() in FREE:
            continue
        if not all(port.get_partial_shape().is_static for port in (*node.inputs(), *node.outputs())):
            raise ValueError(f"how much its {node.get_type_name()} makes depends on what goes in")
        products += _multiply_adds(node)
        times = SORTING if node.get_type_name() == "TopK" else 1
        moved += times * sum(math.prod(_shape(port)) for port in (*node.inputs(), *node.outputs()))
    return Work(products, moved)


def count_flop(file: Path, batch: int = 1) -> int:
    """Return the floating-point operations of one run of an ONNX graph: two for each multiply-add of its products.

    Norms, activations and moves, a few percent of the work, do not count.
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
    if kind in ("ConvolutionBackpropData", "GroupConvolutionBackpropData"):
        weights = _shape(node.input(1))  # [in, out, *kernel], or with the groups before
        inside = weights[1:] if kind == "ConvolutionBackpropData" else weights[2:]
        return math.prod(_shape(node.input(0))) * math.prod(inside)
    if kind in ("AvgPool", "MaxPool"):
        return math.prod(_shape(node.output(0))) * math.prod(map(int, node.get_attributes()["kernel"]))
    if kind == "Einsum":
        return math.prod(dict(_labels(node)).values())
    return 0


def _labels(node: Any) -> Iterator[tuple[str, int]]:
    """Yield the index and the size of every axis that an Einsum runs over; those of an ellipsis count from the last."""
    sides = node.get_attributes()["equation"].replace(" ", "").partition("->")[0].split(",")
    for port, side in zip(node.inputs(), sides, strict=True):
        sizes = _shape(port)
        before, ellipsis, after = side.partition("...")
        hidden = len(sizes) - len(before) - len(after) if ellipsis else 0
        yield from zip([*before, *(f"...{place}" for place in range(hidden, 0, -1)), *after], sizes, strict=True)


def _shape(port: Any) -> list[int]:
    return [int(size) for size in port.get_shape()]
