"""model.safetensors: the weights of a tokenizer once, in few bytes, with both graphs pointing into it.

A tensor is stored as it is, in half precision, or as bytes: whole numbers from -127 to 127 and a scale per row. The
graphs restore it (Cast, Mul) when they are loaded, and every engine folds that away.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import onnx
import torch
from safetensors.torch import save_file
from torch import Tensor

from training.exporting.graphs import strip

Form = Literal["plain", "half", "bytes"]

SCALE = ".scale"
"""Ends the name of the scales of a tensor that is stored as bytes."""

SMALL = 4096
"""Bytes below which a constant stays in the graph itself."""


def scales(tensor: Tensor) -> Tensor:
    """Return the scale of each row, over the last axis, [..., 1]: the largest number becomes 127."""
    return tensor.abs().amax(dim=-1, keepdim=True).clamp(min=1e-12) / 127


def rounded(tensor: Tensor, form: Form) -> Tensor:
    """Return what is left of a tensor when it is stored in this form and restored."""
    if form == "half":
        return tensor.half().float()
    if form == "bytes":
        scale = scales(tensor)
        return (tensor / scale).round() * scale
    return tensor


def round_network(network: torch.nn.Module, form_of: Callable[[str, Tensor], Form]) -> None:
    """Round a network's parameters to what is stored of them, so that it computes what its graphs will."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(rounded(parameter, form_of(name, parameter)))


def share_weights(
    files: list[Path], weights: Path, network: dict[str, Tensor], form_of: Callable[[str, Tensor], Form]
) -> None:
    """Write the weights of a rounded network and let every large tensor of its graphs point into the file.

    The exporter stores most matrices transposed: in the graph they become the network's own matrix, restored, and a
    Transpose. Whatever else the exporter has folded joins the file under `graph.<name>`.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in network.items():
        tensors |= _stored(name, tensor, form_of(name, tensor))
    plain = {tensor.numpy().tobytes(): name for name, tensor in network.items()}
    turned = {t.t().contiguous().numpy().tobytes(): name for name, t in network.items() if t.dim() == 2}
    models = [onnx.load(file) for file in files]
    pointers: list[tuple[onnx.TensorProto, str]] = []
    for model in models:
        strip(model)
        for initializer in list(model.graph.initializer):
            data = onnx.numpy_helper.to_array(initializer)
            key = data.tobytes()
            if data.nbytes < SMALL:
                continue
            name = plain.get(key) or turned.get(key) or ""
            if not name:
                name = plain[key] = f"graph.{initializer.name}.{len(tensors)}"
                tensors[name] = torch.from_numpy(data.copy())
            if tensors[name].dtype == torch.int8 and key in plain:
                _refuse_factor(model.graph, initializer.name, name)
            pointers += _restore(model.graph, initializer, name, tensors, transpose=key not in plain)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, weights)
    weights.chmod(0o644)
    _point(pointers, weights)
    for model, file in zip(models, files, strict=True):
        file.write_bytes(model.SerializeToString())
        onnx.checker.check_model(str(file))


def _refuse_factor(graph: onnx.GraphProto, initializer: str, name: str) -> None:
    """Raise ValueError where bytes would be the second factor of a product as they are stored, [in, out].

    Their scales are then along the sum, which OpenVINO 2026.4 computes wrongly. `torch.nn.functional.linear` has them
    along the outputs.
    """
    if any(node.op_type == "MatMul" and initializer in node.input[1:] for node in graph.node):
        raise ValueError(f"{name} is stored as bytes with a scale per input: keep it as [out, in], for F.linear")


def _stored(name: str, tensor: Tensor, form: Form) -> dict[str, Tensor]:
    if form == "half":
        return {name: tensor.half()}
    if form == "bytes":
        scale = scales(tensor)
        return {name: (tensor / scale).round().to(torch.int8), name + SCALE: scale}
    return {name: tensor}


def _restore(
    graph: onnx.GraphProto, initializer: onnx.TensorProto, name: str, tensors: dict[str, Tensor], transpose: bool
) -> list[tuple[onnx.TensorProto, str]]:
    """Make the graph compute an initializer from the tensor as it is stored; return what points into the file."""
    stored = tensors[name]
    pointers = [(initializer, name)]
    steps: list[tuple[str, list[str], dict[str, Any]]] = []
    if stored.dtype != torch.float32:
        initializer.data_type = onnx.TensorProto.FLOAT16 if stored.dtype == torch.float16 else onnx.TensorProto.INT8
        steps.append(("Cast", [], {"to": onnx.TensorProto.FLOAT}))
    if stored.dtype == torch.int8:
        scale = onnx.numpy_helper.from_array(tensors[name + SCALE].numpy(), initializer.name + SCALE)
        graph.initializer.append(scale)
        pointers.append((graph.initializer[-1], name + SCALE))
        steps.append(("Mul", [scale.name], {}))
    if transpose:
        initializer.dims[:] = [*reversed(initializer.dims)]
        steps.append(("Transpose", [], {"perm": [1, 0]}))
    result = initializer.name
    names = [f"{result}.stored{n}" for n in range(len(steps))] + [result]
    initializer.name = names[0]
    nodes = [
        onnx.helper.make_node(kind, [names[n], *more], [names[n + 1]], name=f"{names[n + 1]}.{kind}", **how)
        for n, (kind, more, how) in enumerate(steps)
    ]
    for node in reversed(nodes):
        graph.node.insert(0, node)
    return pointers


def _point(pointers: list[tuple[onnx.TensorProto, str]], weights: Path) -> None:
    """Let initializers say where in a safetensors file their numbers are."""
    with weights.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = msgspec.json.decode(stream.read(size))
    for initializer, name in pointers:
        start, end = header[name]["data_offsets"]
        initializer.ClearField("raw_data")
        initializer.data_location = onnx.TensorProto.EXTERNAL
        del initializer.external_data[:]
        for key, value in (("location", weights.name), ("offset", 8 + size + start), ("length", end - start)):
            initializer.external_data.add(key=key, value=str(value))
