"""ONNX Runtime on the CPU: reads the graph as it is, any batch."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from engine.backends.base import Arrays, Precision
from engine.errors import EngineError


def _cores() -> int:
    """Return how many cores this process may use, where the system says; else how many there are."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


class OnnxRuntimeGraph:
    """See `engine.backends.base.Graph`. Only fp32. Raises EngineError for another precision.

    threads: of a run; 0: as many as there are cores.

    Inputs are read where they lie, and outputs are written once, into arrays of the caller's own: binding them by hand
    was no faster.
    """

    def __init__(self, file: Path, precision: Precision = "fp32", threads: int = 0) -> None:
        if precision != "fp32":
            raise EngineError(f"onnxruntime runs in fp32, not in {precision}: choose another --precision")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or _cores()
        # Threads that spin between calls would take the cores that pose estimation needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # what is wrong is raised too
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.inputs = {
            node.name: tuple(size if isinstance(size, int) else None for size in node.shape)
            for node in self._session.get_inputs()
        }
        self.outputs = tuple(node.name for node in self._session.get_outputs())

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        """See `engine.backends.base.Graph.run`."""
        return dict(zip(self.outputs, self._session.run(None, dict(feeds)), strict=True))
