"""Refuses graphs that could do more than compute a step: for those that come from somebody else.

A graph is read by its protobuf fields alone (https://onnx.ai/onnx/repo-docs/IR.html), before any runtime sees it. What
is left has no loops, no branches, no code and no files of its own, and its constants are as large as they look.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path

from engine.errors import TokenizerError

# fmt: off
OPERATORS = frozenset(
    {
        "Abs", "Add", "And", "ArgMax", "ArgMin", "AveragePool", "BatchNormalization", "Cast", "CastLike", "Ceil",
        "Clip", "Concat", "Constant", "Conv", "ConvTranspose", "Cos", "CumSum", "Div", "Einsum", "Elu", "Equal", "Erf",
        "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Gelu", "Gemm",
        "GlobalAveragePool", "Greater", "GreaterOrEqual", "GroupNormalization", "HardSigmoid", "HardSwish", "Identity",
        "InstanceNormalization", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax",
        "MatMul", "Max", "MaxPool", "Mean", "Min", "Mod", "Mul", "Neg", "Not", "OneHot", "Or", "PRelu", "Pad", "Pow",
        "Reciprocal", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
        "ReduceSumSquare", "Relu", "Reshape", "Round", "ScatterElements", "ScatterND", "Shape", "Sigmoid", "Sign",
        "Sin", "Size", "Slice", "Softmax", "Softplus", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "TopK",
        "Transpose", "Unsqueeze", "Where", "Xor",
    }
)
# fmt: on
"""What a step may be made of: ONNX's own operators that compute numbers, in time that their sizes bound."""

SIZED_BY = {"Expand": 1, "Pad": 1, "OneHot": 1}
"""Operators whose output is as large as the values of this input say."""

WEIGHTS = "model.safetensors"
"""The one file beside a graph that its constants may lie in."""

MOST = 2**24
"""Numbers that one value may have: a decoder of ours has some thousand for each person."""

NODES = 100_000

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_Fields = Iterator[tuple[int, int | bytes]]


def check_graph(file: Path) -> None:
    """Raise TokenizerError for a graph that holds anything but plain operators, or whose constants are huge."""
    try:
        _check_model(file.read_bytes())
    except (ValueError, IndexError, struct.error) as error:
        raise TokenizerError(f"{file.name} is not a graph that may come from elsewhere: {error}") from None


def _check_model(data: bytes) -> None:
    graphs = 0
    for number, value in _fields(data):
        if number == 7 and isinstance(value, bytes):  # graph
            graphs += 1
            _check_nodes(value)
        elif number in (20, 25):  # training_info, functions
            raise ValueError("it defines functions of its own")
    if graphs != 1:
        raise ValueError("it holds no graph")


def _check_nodes(graph: bytes) -> None:
    sizes: dict[bytes, int] = {}
    sized: list[tuple[str, bytes]] = []
    nodes = 0
    for number, value in _fields(graph):
        if not isinstance(value, bytes):
            continue
        if number == 1:
            nodes += 1
            sized += _check_node(value)
        elif number == 5:
            name, sizes[name] = _check_tensor(value)
        elif number == 15:
            raise ValueError("it holds sparse constants")
    if nodes > NODES:
        raise ValueError(f"it has more than {NODES} operators")
    for operator, source in sized:
        if sizes.get(source, 0) > MOST:
            raise ValueError(f"its {operator} makes more than {MOST} numbers")


def _check_node(node: bytes) -> list[tuple[str, bytes]]:
    """Return what makes the node's output large: its operator, and the name of the input that says how large."""
    inputs: list[bytes] = []
    operator = domain = ""
    for number, value in _fields(node):
        if not isinstance(value, bytes):
            continue
        if number == 1:
            inputs.append(value)
        elif number == 4:
            operator = value.decode()
        elif number == 7:
            domain = value.decode()
        elif number == 5:
            _check_attribute(value)
    if domain not in ("", "ai.onnx") or operator not in OPERATORS:
        raise ValueError(f"its operator {operator[:64]!r}{f' of {domain[:64]!r}' if domain else ''} is not a plain one")
    place = SIZED_BY.get(operator)
    return [] if place is None or len(inputs) <= place else [(operator, inputs[place])]


def _check_attribute(attribute: bytes) -> None:
    for number, value in _fields(attribute):
        if number in (6, 11):  # g, graphs
            raise ValueError("it has loops or branches")
        if number in (22, 23):  # sparse_tensor, sparse_tensors
            raise ValueError("it holds sparse constants")
        if number in (5, 10) and isinstance(value, bytes):  # t, tensors
            _check_tensor(value)


def _check_tensor(tensor: bytes) -> tuple[bytes, int]:
    """Return a constant's name and how many numbers it stands for, should it say how large something is."""
    dims: list[int] = []
    kind, name, raw, elsewhere = 0, b"", b"", False
    place: dict[bytes, bytes] = {}
    listed: list[int] = []
    for number, value in _fields(tensor):
        if number == 13 and isinstance(value, bytes):  # an entry of external_data
            entry = {field: text for field, text in _fields(value) if isinstance(text, bytes)}
            place[entry.get(1, b"")] = entry.get(2, b"")
        elif number == 14:  # data_location
            elsewhere = bool(value)
        elif number == 1:
            dims += _integers(value)
        elif number == 2 and isinstance(value, int):
            kind = value
        elif number == 7:
            listed += _integers(value)
        elif number == 8 and isinstance(value, bytes):
            name = value
        elif number == 9 and isinstance(value, bytes):
            raw = value
    if elsewhere and place.get(b"location") != WEIGHTS.encode():
        raise ValueError(f"its constants lie in files other than {WEIGHTS}")
    # Runtimes check that the piece lies within the file.
    size = int(place.get(b"length", b"0")) if elsewhere else len(tensor)
    if any(each < 0 for each in dims) or math.prod(dims) > max(8 * size, 1):
        raise ValueError("it has a constant that is larger than its data")
    if kind == 7 and len(raw) <= 8 * 64:  # int64: short ones are shapes
        listed += [each for (each,) in struct.iter_unpack("<q", raw)]
    return name, math.prod(max(1, abs(each)) for each in listed[:64])


def _integers(value: int | bytes) -> list[int]:
    """Return a repeated integer's values: packed ones come as bytes."""
    if isinstance(value, int):
        return [_signed(value)]
    found, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(_signed(number))
    return found


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


def _fields(data: bytes) -> _Fields:
    """Yield (field, value) of a protobuf message: an int, or the bytes of a text, message or packed list."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError("it is damaged")
        if at + size > len(data):
            raise ValueError("it is cut off")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number & (2**64 - 1), at
        if shift > 63:
            raise ValueError("it is damaged")
