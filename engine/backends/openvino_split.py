"""Cuts a graph in three, so that the middle, where the work is, can run in half precision and the ends do not.

What draws the joints, and what decides between codes, must not be rounded to 8 bits: a joint would move by a quarter
of a pixel before the first product sees it, and near codes would be taken for each other. OpenVINO takes one precision
for a whole graph, hence three graphs: what depends on `x` alone, up to the first matrix product; the middle, with all
the states; what follows the last norm before the result. A decoder is not cut: rounded anywhere, it moves some joints
by 4 mm.
"""

from collections.abc import Callable, Iterable
from typing import Any

from openvino import Model, opset13
from openvino.passes import ConstantFolding, Manager

PRODUCTS = {"MatMul", "Convolution", "GroupConvolution", "ConvolutionBackpropData"}
NORMS = {"MVN", "GroupNormalization"}
MOVES = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Convert"}
STATE = "new_state."

Seam = tuple[str, int]
"""A node's name and which of its outputs."""


def cut(model: Any) -> list[tuple[Any, str]]:
    """Return the parts of a model of fixed batch, in the order in which they run, and the precision of each.

    Inputs and outputs keep their names; what one part hands to another is called `cut.<node>.<output>`. A decoder, and
    an encoder with no norm before its tokens, comes back whole, for f32. The model itself is folded.
    """
    folding = Manager()
    folding.register_pass(ConstantFolding())
    folding.run_passes(model)
    ends = {port.any_name: port.get_node().input_value(0) for port in model.outputs}
    results = [name for name in ends if not name.startswith(STATE)]
    late = _before_last_norm([ends[name] for name in results]) if "tokens" in results else []
    if not late:
        return [(model, "f32")]
    early = _before_first_product(model)
    states = [name for name in ends if name.startswith(STATE)]
    first = [(_part(model, [], [], early), "f32")] if early else []
    return [*first, (_part(model, early, states, late), "bf16"), (_part(model, late, results, []), "f32")]


def _before_last_norm(ends: Iterable[Any]) -> list[Seam]:
    """What the last norm on the way to each result takes in, or nothing if some way has none."""
    seams: dict[Seam, None] = {}
    for end in ends:
        found, whole = _back(end, seams)
        if not whole:
            return []
        seams |= dict.fromkeys(found)
    return list(seams)


def _back(end: Any, known: Iterable[Seam]) -> tuple[list[Seam], bool]:
    """Go back from a port to norms or seams already known; False where a way reaches an input instead."""
    found, visited, front = [], set[Seam](), [end]
    while front:
        port = front.pop()
        here = _seam(port)
        if here in visited or here in known:
            continue
        visited.add(here)
        node = port.get_node()
        if node.get_type_name() == "Parameter":
            return [], False
        if node.get_type_name() in NORMS:
            found.append(_seam(node.input_value(0)))
            continue
        front += [value for value in node.input_values() if value.get_node().get_type_name() != "Constant"]
    return found, True


def _before_first_product(model: Any) -> list[Seam]:
    """What is made from `x` alone, before any product, and used by the rest; nothing where x is only moved about."""
    drawn: set[str] = set()
    busy = False
    for node in model.get_ordered_ops():
        name, kind = node.get_friendly_name(), node.get_type_name()
        if kind == "Parameter":
            if "x" in node.output(0).get_names():
                drawn.add(name)
            continue
        before = [value.get_node() for value in node.input_values()]
        before = [each for each in before if each.get_type_name() != "Constant"]
        if before and kind not in {*PRODUCTS, "Result"} and all(each.get_friendly_name() in drawn for each in before):
            drawn.add(name)
            busy = busy or kind not in MOVES
    if not busy:
        return []
    used: Callable[[Any], bool] = lambda port: any(  # noqa: E731
        target.get_node().get_friendly_name() not in drawn for target in port.get_target_inputs()
    )
    made = [node for node in model.get_ordered_ops() if node.get_friendly_name() in drawn]
    return [_seam(port) for node in made for port in node.outputs() if used(port)]


def _part(model: Any, entries: list[Seam], results: list[str], exits: list[Seam]) -> Any:
    """The piece of a copy of the model that makes these results and seams from these seams and its inputs."""
    model = model.clone()
    nodes = {node.get_friendly_name(): node for node in model.get_ordered_ops()}
    named = {port.any_name: port.get_node().input_value(0) for port in model.outputs}
    ends = {name: named[name] for name in results}
    ends |= {_name(seam): nodes[seam[0]].output(seam[1]) for seam in exits}
    stand_ins = []
    for seam in entries:
        port = nodes[seam[0]].output(seam[1])
        stand_in = opset13.parameter(list(port.get_shape()), port.get_element_type(), _name(seam))
        stand_in.output(0).get_tensor().set_names({_name(seam)})
        for target in port.get_target_inputs():
            target.replace_source_output(stand_in.output(0))
        stand_ins.append(stand_in)
    made = []
    for name, port in ends.items():
        result = opset13.result(port)
        result.output(0).get_tensor().set_names({name})
        made.append(result)
    inputs = [*stand_ins, *model.get_parameters()]
    needed = _ancestors(made)
    return Model(made, [each for each in inputs if each.get_friendly_name() in needed], model.get_friendly_name())


def _ancestors(nodes: Iterable[Any]) -> set[str]:
    names, front = set[str](), list(nodes)
    while front:
        node = front.pop()
        if node.get_friendly_name() not in names:
            names.add(node.get_friendly_name())
            front += [value.get_node() for value in node.input_values()]
    return names


def _seam(port: Any) -> Seam:
    return port.get_node().get_friendly_name(), port.get_index()


def _name(seam: Seam) -> str:
    return f"cut.{seam[0]}.{seam[1]}"
