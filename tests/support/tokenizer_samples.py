"""A tokenizer directory small enough to know by heart what its decoder gives."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engine.spec import TokenizerSpec, sha256, write_sums

Step = tuple[str, list[str], str, dict[str, int]]
Port = tuple[str, int, list[int]]

HOP, GRID, VOCABULARY = 8, (1, 1, 8, 8), 512
CONFIDENCE = 0.75


def expected(ids: NDArray[np.integer], total: float) -> tuple[NDArray[np.float32], float]:
    """Return the joints in the box, float32 [8, 17, 2], and the new state, from ids and the state before."""
    total += float(ids.mean()) / VOCABULARY / 10
    return np.full((HOP, 17, 2), total, np.float32), total


def write_tokenizer(folder: Path) -> TokenizerSpec:
    """Write a 2D tokenizer whose decoder puts every joint at the running sum of mean id / vocabulary / 10."""
    folder.mkdir()
    for file in ("encoder.onnx", "model.safetensors"):
        (folder / file).write_bytes(b"not needed to decode")
    _write_decoder(folder / "decoder.onnx")
    spec = TokenizerSpec(
        name="running-sum",
        kind="heatmap",
        skeleton="coco17",
        dims=2,
        grid=64,
        sigma=1.5,
        hop=HOP,
        window=HOP,
        causal=True,
        fps=30.0,
        strides=(8, 8, 8),
        vocabulary=VOCABULARY,
        token_grid=GRID,
        input="keypoints",
        encoder_states={},
        decoder_states={"total": (1,)},
        weights_hash=sha256(folder / "model.safetensors"),
    )
    (folder / "config.json").write_bytes(msgspec.json.encode(spec))
    write_sums(folder)
    return spec


def write_encoder(file: Path) -> None:
    """Write an encoder for it whose every id is the sum of what went in."""
    constants = {
        "all": np.array([1, 2, 3]),
        "five": np.array([-1, 1, 1, 1, 1]),
        "six": np.array([-1, 1, 1, 1, 1, 1]),
        "every_place": np.ones((1, *GRID), np.float32),
        "every_channel": np.ones((1, *GRID, 2), np.float32),
    }
    steps = [
        ("ReduceSum", ["x", "all"], "sum", {"keepdims": 0}),
        ("Add", ["sum", "reset"], "total", {}),
        ("Reshape", ["total", "five"], "place", {}),
        ("Mul", ["place", "every_place"], "ids", {}),
        ("Cast", ["ids"], "tokens", {"to": TensorProto.INT32}),
        ("Reshape", ["total", "six"], "channel", {}),
        ("Mul", ["channel", "every_channel"], "latent", {}),
    ]
    floats = TensorProto.FLOAT
    write_graph(
        file,
        steps,
        [("x", floats, [HOP, 17, 3]), ("reset", floats, [])],
        [("tokens", TensorProto.INT32, [*GRID]), ("latent", floats, [*GRID, 2])],
        constants,
    )


def burdened(folder: Path, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], end: str) -> Path:
    """Write a sound tokenizer whose decoder also does what `nodes` say; `end` is what they come to, one number."""
    write_tokenizer(folder)
    model = onnx.load(folder / "decoder.onnx")
    graph = model.graph
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    last = next(node for node in graph.node if node.output[0] == "sureness")
    last.output[0] = "sureness alone"
    at = list(graph.node).index(last) + 1
    added = [*nodes, helper.make_node("Mul", [end, "zero"], ["no weight"])]
    added.append(helper.make_node("Add", ["sureness alone", "no weight"], ["sureness"]))
    for place, node in enumerate(added):
        graph.node.insert(at + place, node)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "decoder.onnx")
    write_sums(folder)
    return folder


def products(folder: Path, of: str, side: int, count: int) -> Path:
    """A decoder with a chain of matrix products. of: the constant, or what goes in, by which each multiplies."""
    matrix = (np.eye(side) + 0.001).astype(np.float32)
    nodes = [helper.make_node("Add", ["matrix", of], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{n}", "matrix"], [f"m{n + 1}"]) for n in range(count)]
    nodes.append(helper.make_node("ReduceMax", [f"m{count}"], ["largest"], keepdims=0))
    return burdened(folder, nodes, {"matrix": matrix}, "largest")


def _write_decoder(file: Path) -> None:
    constants = {
        "one": np.float32(1),
        "scale": np.float32(1 / VOCABULARY / 10),
        "zero": np.float32(0),
        "sure": np.float32(CONFIDENCE),
        "grid_axes": np.array([1, 2, 3, 4]),
        "last": np.array([1]),
        "four": np.array([-1, 1, 1, 1]),
        "three": np.array([-1, 1, 1]),
        "every_joint": np.ones((1, HOP, 17, 2), np.float32),
        "every_confidence": np.ones((1, HOP, 17), np.float32),
    }
    steps = [
        ("Cast", ["tokens"], "ids", {"to": TensorProto.FLOAT}),
        ("ReduceMean", ["ids", "grid_axes"], "mean", {"keepdims": 0}),
        ("Mul", ["mean", "scale"], "flat_step", {}),
        ("Unsqueeze", ["flat_step", "last"], "step", {}),
        ("Sub", ["one", "reset"], "flat_keep", {}),
        ("Unsqueeze", ["flat_keep", "last"], "keep", {}),
        ("Mul", ["state.total", "keep"], "kept", {}),
        ("Add", ["kept", "step"], "new_state.total", {}),
        ("Reshape", ["new_state.total", "four"], "place", {}),
        ("Mul", ["place", "every_joint"], "joints", {}),
        ("Reshape", ["new_state.total", "three"], "place3", {}),
        ("Mul", ["place3", "zero"], "nothing", {}),
        ("Add", ["nothing", "sure"], "sureness", {}),
        ("Mul", ["sureness", "every_confidence"], "confidence", {}),
    ]
    floats = TensorProto.FLOAT
    write_graph(
        file,
        steps,
        [("tokens", TensorProto.INT32, [*GRID]), ("reset", floats, []), ("state.total", floats, [1])],
        [("joints", floats, [HOP, 17, 2]), ("confidence", floats, [HOP, 17]), ("new_state.total", floats, [1])],
        constants,
    )


def write_graph(
    file: Path, steps: list[Step], inputs: list[Port], outputs: list[Port], constants: dict[str, Any]
) -> None:
    """Write a graph. A step: operator, inputs, output, attributes; a port: name, type, sizes without the batch."""
    ports = [
        [helper.make_tensor_value_info(name, kind, ["B", *sizes]) for name, kind, sizes in each]
        for each in (inputs, outputs)
    ]
    nodes = [helper.make_node(kind, names, [output], **how) for kind, names, output, how in steps]
    used = {name for _, names, _, _ in steps for name in names}
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used]
    graph = helper.make_graph(nodes, file.stem, *ports, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, file)
