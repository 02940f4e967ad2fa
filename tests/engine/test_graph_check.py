"""Graphs from elsewhere: plain ones pass, what could do more is refused before a runtime sees it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from engine.errors import TokenizerError
from engine.graph_check import MOST, check_graph
from engine.spec import PRETRAINED

FLOATS = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])


def model(*nodes: onnx.NodeProto, constants: dict[str, np.ndarray] | None = None) -> onnx.ModelProto:
    held = [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])
    return helper.make_model(helper.make_graph(nodes, "g", [x], [FLOATS], held))


def looping() -> onnx.ModelProto:
    """A loop that never ends."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [None]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [None]),
        ],
    )
    return model(helper.make_node("Loop", ["", "true", "x"], ["y"], body=body), constants={"true": np.array(True)})


def hidden_in_a_plain_one() -> onnx.ModelProto:
    branch = helper.make_graph([helper.make_node("Identity", ["x"], ["w"])], "b", [], [FLOATS])
    return model(helper.make_node("Relu", ["x"], ["y"], body=branch))


def external() -> onnx.ModelProto:
    made = model(helper.make_node("Add", ["x", "c"], ["y"]), constants={"c": np.ones(3, np.float32)})
    constant = made.graph.initializer[0]
    constant.data_location = TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="../../../../etc/passwd")
    constant.ClearField("raw_data")
    return made


def functional() -> onnx.ModelProto:
    made = model(helper.make_node("Relu", ["x"], ["y"]))
    relu = helper.make_node("Relu", ["a"], ["b"])
    made.functions.append(helper.make_function("", "Relu", ["a"], ["b"], [relu], [helper.make_opsetid("", 18)]))
    return made


def hollow() -> onnx.ModelProto:
    """A constant that says that it is large."""
    made = model(helper.make_node("Add", ["x", "c"], ["y"]), constants={"c": np.ones(1, np.float32)})
    made.graph.initializer[0].dims[:] = [10**6, 10**6]
    return made


HOSTILE: dict[str, Callable[[], onnx.ModelProto]] = {
    "loops or branches|'Loop'": looping,
    "loops or branches": hidden_in_a_plain_one,
    "files other than": external,
    "functions": functional,
    "larger than its data": hollow,
    "'Evil' of 'com.example'": lambda: model(helper.make_node("Evil", ["x"], ["y"], domain="com.example")),
    "'Range'": lambda: model(helper.make_node("Range", ["x", "x", "x"], ["y"])),
    f"Expand makes more than {MOST}": lambda: model(
        helper.make_node("Expand", ["x", "s"], ["y"]), constants={"s": np.array([10**6, 10**6])}
    ),
}


@pytest.mark.parametrize("why", HOSTILE)
def test_what_does_more_than_a_step_is_refused(tmp_path: Path, why: str) -> None:
    file = tmp_path / "decoder.onnx"
    file.write_bytes(HOSTILE[why]().SerializeToString())
    with pytest.raises(TokenizerError, match=why):
        check_graph(file)


@pytest.mark.parametrize(
    "file", sorted(PRETRAINED.glob("*/*.onnx")), ids=lambda file: f"{file.parent.name}-{file.stem}"
)
def test_our_own_pass(file: Path) -> None:
    check_graph(file)


@settings(max_examples=200, deadline=None)
@given(junk=st.binary(max_size=300), cut=st.integers(0, 3000))
def test_any_bytes_pass_or_are_refused(tmp_path_factory: pytest.TempPathFactory, junk: bytes, cut: int) -> None:
    file = tmp_path_factory.mktemp("junk") / "decoder.onnx"
    whole = looping().SerializeToString()
    file.write_bytes(whole[: cut % len(whole)] + junk)
    with pytest.raises(TokenizerError):
        check_graph(file)
