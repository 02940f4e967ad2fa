"""One step of a network as an ONNX graph with a free batch."""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

OPSET = 18


def write_graph(
    graph: nn.Module,
    file: Path,
    feeds: Mapping[str, Tensor],
    outputs: list[str],
    states: dict[str, tuple[int, ...]] | None,
) -> None:
    """Export one step. feeds: an example of each input but `reset` and the states, in the order of `forward`.

    states: sizes by path; None for a graph that remembers nothing and takes no `reset`.
    """
    batch = len(next(iter(feeds.values())))
    if states is not None:
        feeds = {**feeds, "reset": torch.zeros(batch)}
    states = states or {}
    names = [*feeds, *(f"state.{path}" for path in states)]
    example = (*feeds.values(), *(torch.zeros(batch, *shape) for shape in states.values()))
    free = torch.export.Dim("batch", min=1, max=4096)
    shapes = [{0: free} for _ in feeds]
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # torch warns of its own use of its pytree, that axes of the same size share a name, as they are to, and that
        # there is no torchvision, which nothing here needs.
        warnings.filterwarnings("ignore", "`isinstance\\(treespec", FutureWarning)
        warnings.filterwarnings("ignore", "# The axis name", UserWarning)
        program = torch.onnx.export(
            graph,
            example,
            input_names=names,
            output_names=[*outputs, *(f"new_state.{path}" for path in states)],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=(*shapes, *([tuple({0: free} for _ in states)] if states else [])),
            verbose=False,
        )
    assert program is not None
    program.save(str(file))


def strip(model: onnx.ModelProto) -> None:
    """Take out what the exporter says of the machine and the source it ran on."""
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        item.ClearField("doc_string")
        item.ClearField("metadata_props")
    del graph.value_info[:]
