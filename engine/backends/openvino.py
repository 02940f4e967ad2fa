"""OpenVINO on the CPU: reads the ONNX graph and compiles it once per batch size, for short latency."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from engine.backends.base import Arrays

BUCKETS = (1, 2, 4, 8, 16, 32, 64)
"""Batch sizes that are compiled; a batch in between is filled up, a larger one runs in parts."""


class OpenVinoGraph:
    """See `engine.backends.base.Graph`. Float32 throughout: tokens must not depend on the processor's half types."""

    def __init__(self, file: Path) -> None:
        self._core = openvino.Core()
        self._model = self._core.read_model(file)
        self.inputs = {
            port.any_name: tuple(d.get_length() if d.is_static else None for d in port.partial_shape)
            for port in self._model.inputs
        }
        self.outputs = tuple(port.any_name for port in self._model.outputs)
        self._compiled: dict[int, Any] = {}

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        """See `engine.backends.base.Graph.run`."""
        batch = len(next(iter(feeds.values())))
        if batch > BUCKETS[-1]:
            parts = [
                self.run({name: array[start : start + BUCKETS[-1]] for name, array in feeds.items()})
                for start in range(0, batch, BUCKETS[-1])
            ]
            return {name: np.concatenate([part[name] for part in parts]) for name in self.outputs}
        bucket = next(size for size in BUCKETS if size >= batch)
        if bucket != batch:
            feeds = {name: _filled(array, bucket) for name, array in feeds.items()}
        request = self._request(bucket)
        result = request.infer(dict(feeds), share_inputs=True, share_outputs=True)
        return {name: np.array(result[name][:batch]) for name in self.outputs}

    def _request(self, bucket: int) -> Any:
        if bucket not in self._compiled:
            model = self._model.clone()
            model.reshape({name: [bucket, *shape[1:]] for name, shape in self.inputs.items()})
            hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
            self._compiled[bucket] = self._core.compile_model(model, "CPU", hints).create_infer_request()
        return self._compiled[bucket]


def _filled(array: NDArray[Any], bucket: int) -> NDArray[Any]:
    whole = np.zeros((bucket, *array.shape[1:]), array.dtype)
    whole[: len(array)] = array
    return whole
