"""Rewrites a tokenizer's graph in half precision or int8: the types stand in the graph, as compilers want them.

Matrix products, with what only adds a bias, bends or moves their result, are rounded; the residual stream, layer norms,
softmax, the drawing of joints and the states stay in float32. So does everything after the last layer norm before a
result: what decides between two near codes, or says where a joint is, must not be rounded.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Half = Literal["fp16", "bf16"]

_TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
_PRODUCTS = {"MatMul", "Gemm", "Conv"}
_FOLLOW = {"Add", "Mul", "Sigmoid", "Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze", "Concat", "Gather"}
_SHAPES = {"Reshape", "Slice", "Squeeze", "Unsqueeze", "Gather"}  # whose later inputs must not be rounded
_NORM = "LayerNormalization"
_STATE = "new_state."


def load_graph(file: Path) -> onnx.ModelProto:
    """Read a tokenizer's graph with its weights inside, as plain float32 matrices.

    The graphs that ship point into model.safetensors and make each matrix from what is stored there, with a Cast and
    a Transpose; these are computed here, so that a product's weights are a constant.
    """
    model = onnx.load(str(file))
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        if node.op_type in ("Cast", "Transpose") and node.input[0] in constants:
            value = numpy_helper.to_array(constants[node.input[0]])
            how = {each.name: helper.get_attribute_value(each) for each in node.attribute}
            if node.op_type == "Cast":
                value = value.astype(helper.tensor_dtype_to_np_dtype(how["to"]))
            else:
                value = value.transpose(how.get("perm"))
            constants[node.output[0]] = numpy_helper.from_array(np.ascontiguousarray(value), node.output[0])
        else:
            kept.append(node)
    used = {name for node in kept for name in node.input}
    _replace(model.graph.node, kept)
    _replace(model.graph.initializer, [tensor for name, tensor in constants.items() if name in used])
    return model


def halve(model: onnx.ModelProto, precision: Half) -> onnx.ModelProto:
    """Return the graph with its products in half precision. Inputs and outputs keep their types."""
    half = _TYPES[precision]
    rounded = _rounded(model.graph)
    out = onnx.ModelProto()
    out.CopyFrom(model)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made_half = {name for node in model.graph.node if _key(node) in rounded for name in node.output}
    nodes: list[onnx.NodeProto] = []
    tensors = dict(zip([t.name for t in model.graph.initializer], model.graph.initializer, strict=True))
    casts: dict[tuple[str, int], str] = {}

    def as_type(name: str, to: int) -> str:
        if (name, to) not in casts:
            casts[name, to] = f"{name}.{precision if to == half else 'fp32'}"
            if name in constants:
                tensors[casts[name, to]] = _half_tensor(constants[name], casts[name, to], precision)
            else:
                nodes.append(helper.make_node("Cast", [name], [casts[name, to]], name=casts[name, to], to=to))
        return casts[name, to]

    for node in out.graph.node:
        inside = _key(node) in rounded
        numbers = 1 if node.op_type in _SHAPES else len(node.input)
        for place, name in enumerate(node.input):
            if not name:
                continue
            if inside and place < numbers and name not in made_half:
                node.input[place] = as_type(name, half)
            elif not inside and name in made_half:
                node.input[place] = as_type(name, TensorProto.FLOAT)
        nodes.append(node)
    for port in out.graph.output:
        if port.name in made_half:  # the caller's name stays on the float32 value
            raise ValueError(f"{port.name} would leave the graph in half precision")
    used = {name for node in nodes for name in node.input}
    _replace(out.graph.node, nodes)
    _replace(out.graph.initializer, [tensor for name, tensor in tensors.items() if name in used])
    del out.graph.value_info[:]
    onnx.checker.check_model(out)
    return out


def quantize(
    model: onnx.ModelProto, feeds: Iterable[Mapping[str, NDArray[Any]]], folder: Path, share: float = 0.0
) -> tuple[onnx.ModelProto, int, int]:
    """Return the graph with the products of weights in int8, each input and weight through Q and DQ.

    feeds: inputs of the graph on real windows, states among them, from which the ranges of the products' inputs are
    taken. Ranges are symmetric, weights have one scale per output. share: of the products, from the input on, that stay
    in float32. folder: for the files; int8.onnx is the result. Returns also how many products stay, and how many
    there are.
    """
    from onnxruntime import quantization as q

    source, target = folder / "float.onnx", folder / "int8.onnx"
    onnx.save(model, str(source))
    constants = {tensor.name for tensor in model.graph.initializer}
    rounded = _rounded(model.graph)
    # Attention's products of two moving values have no weights to quantize: nothing is won there.
    products = [
        node.name
        for node in model.graph.node
        if node.op_type in _PRODUCTS and _key(node) in rounded and node.input[1] in constants
    ]
    kept = int(share * len(products))
    with _quiet():
        q.quantize_static(
            str(source),
            str(target),
            _Feeds(feeds),
            quant_format=q.QuantFormat.QDQ,
            op_types_to_quantize=sorted(_PRODUCTS),
            nodes_to_quantize=products[kept:],
            per_channel=True,
            activation_type=q.QuantType.QInt8,
            weight_type=q.QuantType.QInt8,
            calibrate_method=q.CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "DedicatedQDQPair": True,
                "OpTypesToExcludeOutputQuantization": sorted(_PRODUCTS),
            },
        )
    return onnx.load(str(target)), kept, len(products)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantizer's advice, which goes to the root logger, to itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class _Feeds:
    """What the quantizer calls a data reader."""

    def __init__(self, feeds: Iterable[Mapping[str, NDArray[Any]]]) -> None:
        self._feeds: Iterator[Mapping[str, NDArray[Any]]] = iter(feeds)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Return the next inputs, or None after the last."""
        return next((dict(feed) for feed in self._feeds), None)


def _rounded(graph: onnx.GraphProto) -> set[str]:
    """The nodes that may be rounded: products, and what follows them without taking in anything else that moves."""
    exact = _after_last_norm(graph)
    constants = {tensor.name for tensor in graph.initializer}
    outputs = {port.name for port in graph.output}
    makers = {name: node for node in graph.node for name in node.output}
    chosen: set[str] = set()
    made: set[str] = set()
    for node in graph.node:
        moving = [name for name in node.input if name and name not in constants]
        alone = len(set(moving)) == 1 or _is_swish(node, makers) or node.op_type == "Concat"
        follows = node.op_type in _FOLLOW and alone and all(name in made for name in moving)
        if (node.op_type in _PRODUCTS or follows) and _key(node) not in exact and not outputs & set(node.output):
            chosen.add(_key(node))
            made |= set(node.output)
    return chosen


def _is_swish(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether this is x times the sigmoid of x."""
    if node.op_type != "Mul":
        return False
    return any(
        name in makers and makers[name].op_type == "Sigmoid" and makers[name].input[0] == other
        for name, other in (tuple(node.input), tuple(reversed(node.input)))
    )


def _after_last_norm(graph: onnx.GraphProto) -> set[str]:
    """The nodes between the last layer norms and the results; all, where some way to a result passes none."""
    makers = {name: node for node in graph.node for name in node.output}
    inputs = {port.name for port in graph.input} - {tensor.name for tensor in graph.initializer}
    seen: set[str] = set()
    front = [port.name for port in graph.output if not port.name.startswith(_STATE)]
    while front:
        name = front.pop()
        if name in inputs and name != "tokens" and not name.startswith("state.") and name != "reset":
            return {_key(node) for node in graph.node}
        node = makers.get(name)
        if node is None or node.op_type == _NORM or _key(node) in seen:
            continue
        seen.add(_key(node))
        front += [*node.input]
    return seen


def _key(node: onnx.NodeProto) -> str:
    return str(node.output[0])


def _half_tensor(value: NDArray[Any], name: str, precision: Half) -> onnx.TensorProto:
    if precision == "fp16":
        return numpy_helper.from_array(value.astype(np.float16), name)
    return helper.make_tensor(name, TensorProto.BFLOAT16, value.shape, _bfloat16(value).tobytes(), raw=True)


def _bfloat16(value: NDArray[Any]) -> NDArray[np.uint16]:
    """Round float32 to the upper half of its bits, ties to even."""
    bits = np.ascontiguousarray(value, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _replace(field: Any, items: Iterable[Any]) -> None:
    copies = [*items]
    kept = [type(item).FromString(item.SerializeToString()) for item in copies]
    del field[:]
    field.extend(kept)
