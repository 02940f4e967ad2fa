"""OpenVINO on the CPU: reads the ONNX graph and compiles it once per batch size, for short latency."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13

from engine.backends.base import Arrays, Precision
from engine.backends.openvino_split import cut
from engine.cache import cache_folder
from engine.errors import EngineError

BUCKETS = (16, 8, 4, 2, 1)
"""Batch sizes that are compiled; any other batch runs as a sum of them, largest first.

A person costs the same in a batch of 1 as in one of 16, and more in one of 64, which no longer fits the processor's
cache: so nothing is won by filling up to the next size, or by larger ones.
"""


@cache
def core() -> openvino.Core:
    """Return the one OpenVINO of this process.

    Never another: each one's CPU plugin puts up a stack for signals, and when two of them are not taken down in the
    reverse order, that stack points to memory that is gone. The next signal with a Python handler, a Ctrl-C, then ends
    the process with a segmentation fault (OpenVINO 2026.4, plugins/intel_cpu/src/plugin.cpp).
    """
    return openvino.Core()


class OpenVinoGraph:
    """See `engine.backends.base.Graph`.

    precision: fp32 or bf16, which needs a processor that has it; the drawing, the distances to codes and all of a
    decoder stay in float32 (`engine.backends.openvino_split`). States are plain inputs and outputs: kept inside
    OpenVINO they were no faster, and people come and go.

    Raises EngineError for a precision that this backend or this processor does not have.
    """

    def __init__(self, file: Path, precision: Precision = "fp32") -> None:
        if precision not in ("fp32", "bf16"):
            raise EngineError(f"openvino runs in fp32 or bf16, not in {precision}: choose another --precision")
        if precision == "bf16" and not has_bfloat16():
            raise EngineError("this processor does not support bfloat16: use --precision fp32")
        self._precision = precision
        self._model = core().read_model(file)
        self._cache = _cache()
        self.inputs = {
            port.any_name: tuple(d.get_length() if d.is_static else None for d in port.partial_shape)
            for port in self._model.inputs
        }
        self.outputs = tuple(port.any_name for port in self._model.outputs)
        self._compiled: dict[int, list[_Part]] = {}

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        """See `engine.backends.base.Graph.run`."""
        batch = len(next(iter(feeds.values())))
        whole: Arrays = {}
        for rows in _rows(batch):
            have = {name: array[rows] for name, array in feeds.items()}
            for part in self._parts(rows.stop - rows.start):
                have |= part.run(have)
            for name in self.outputs:
                if name not in whole:
                    whole[name] = np.empty((batch, *have[name].shape[1:]), have[name].dtype)
                whole[name][rows] = have[name]
        return whole

    def _parts(self, batch: int) -> "list[_Part]":
        if batch not in self._compiled:
            model = _of_batch(self._model.clone(), batch)
            parts = [(model, "f32")] if self._precision == "fp32" else cut(model)
            self._compiled[batch] = [
                _Part(core().compile_model(part, "CPU", hints(precision) | self._cache)) for part, precision in parts
            ]
        return self._compiled[batch]


class _Part:
    """One compiled graph of fixed batch, and the request that runs it."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._inputs = [port.any_name for port in compiled.inputs]
        self._outputs = [port.any_name for port in compiled.outputs]

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run once. The arrays returned are overwritten by the next run."""
        result = self._request.infer(
            {name: feeds[name] for name in self._inputs}, share_inputs=True, share_outputs=True
        )
        return dict(zip(self._outputs, result.to_tuple(), strict=True))


def read(file: Path, batch: int) -> Any:
    """Return an ONNX graph as a model of fixed batch."""
    return _of_batch(core().read_model(file), batch)


def request(model: Any, precision: str = "f32") -> Any:
    """Compile a model of fixed shapes for short latency and return the request that runs it."""
    return core().compile_model(model, "CPU", hints(precision) | _cache()).create_infer_request()


def hints(precision: str) -> dict[str, str]:
    """Return how to compile for short latency, in f32 or bf16."""
    # Threads tied to cores would wait for whatever else runs there: pose estimation, or another producer tied likewise.
    # Nor are activations rounded to bytes where weights are stored as bytes, as OpenVINO would: ids have to be exact.
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
        "ENABLE_CPU_PINNING": "NO",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    }


def has_bfloat16() -> bool:
    """Whether this processor computes in bfloat16."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def square_product(side: int, precision: str) -> Callable[[], object]:
    """Return a call that multiplies two square matrices, in f32 or bf16: what the processor can do at best."""
    matrix = np.random.default_rng(0).random((side, side), np.float32)
    x = opset13.parameter([side, side], np.float32)
    model = openvino.Model([opset13.matmul(x, opset13.constant(matrix), False, False)], [x])
    request = core().compile_model(model, "CPU", hints(precision)).create_infer_request()
    return lambda: request.infer([matrix], share_inputs=True, share_outputs=True)


def _of_batch(model: Any, batch: int) -> Any:
    model.reshape({port.any_name: [batch, *list(port.partial_shape)[1:]] for port in model.inputs})
    return model


def _rows(batch: int) -> Iterator[slice]:
    """Cut a batch into compiled sizes."""
    start = 0
    while start < batch:
        size = next(size for size in BUCKETS if size <= batch - start)
        yield slice(start, start + size)
        start += size


def _cache() -> dict[str, str]:
    """The setting that keeps compiled graphs for the next start; none where there is no place to keep them."""
    try:
        return {"CACHE_DIR": str(cache_folder("openvino"))}
    except OSError:
        return {}
