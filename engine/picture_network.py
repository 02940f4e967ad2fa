"""Networks that take one picture at a time, such as pose estimators: OpenVINO, else ONNX Runtime, in float32."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.backends.onnxruntime import OnnxRuntimeGraph
from engine.errors import EngineError, in_a_line


class PictureNetwork(Protocol):
    """A graph with one input, a picture, and one output."""

    backend: str

    def prepare(self, height: int, width: int) -> None:
        """Get ready for pictures of this size, which takes up to a second at first; else the first one waits for it."""

    def run(self, picture: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the output for a picture, int32 [1, H, W, 3] of any H and W that the graph takes."""


def open_picture_network(file: Path) -> PictureNetwork:
    """Open an ONNX graph with OpenVINO, which is the faster one, or else with ONNX Runtime.

    In float32 whatever the processor offers: in bfloat16 places read from a heatmap jump.
    Raises EngineError when the file is not such a graph.
    """
    try:
        try:
            return _OpenVinoPictures(file)
        except ImportError:
            return _OnnxRuntimePictures(file)
    except Exception as error:  # each library has its own, down to plain RuntimeError
        raise EngineError(f"{file} is not a network that takes a picture: {in_a_line(error)}") from error


class _OpenVinoPictures:
    """Compiles the graph once per size: with sizes left open it is slower and plans its memory anew each time."""

    backend = "openvino"

    def __init__(self, file: Path) -> None:
        from engine.backends import openvino

        self._openvino = openvino
        self._model = openvino.core().read_model(file)
        (port,) = self._model.inputs
        self._name = port.any_name
        self._requests: dict[tuple[int, int], Any] = {}

    def prepare(self, height: int, width: int) -> None:
        if (height, width) in self._requests:
            return
        model = self._model.clone()
        model.reshape({self._name: [1, height, width, 3]})
        self._requests[height, width] = self._openvino.request(model)

    def run(self, picture: NDArray[np.int32]) -> NDArray[np.float32]:
        height, width = picture.shape[1:3]
        self.prepare(height, width)
        result = self._requests[height, width].infer([picture], share_inputs=True, share_outputs=False)
        return np.asarray(result[0], np.float32)


class _OnnxRuntimePictures:
    """One session serves all sizes."""

    backend = "onnxruntime"

    def __init__(self, file: Path) -> None:
        self._graph = OnnxRuntimeGraph(file)
        (self._input,), (self._output,) = self._graph.inputs, self._graph.outputs

    def prepare(self, height: int, width: int) -> None:
        self.run(np.zeros((1, height, width, 3), np.int32))

    def run(self, picture: NDArray[np.int32]) -> NDArray[np.float32]:
        return np.asarray(self._graph.run({self._input: picture})[self._output], np.float32)
