"""Records what is queued on a CUDA stream, to launch it as one: pycuda has no call for it, the driver has.

CUDA Driver API, "Stream Management" and "Graph Management".
"""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

from engine.errors import EngineError

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may go on with their own work


class CudaGraph:
    """Recorded work, ready to be launched on a stream again and again."""

    def __init__(self, driver: Any, graph: ctypes.c_void_p) -> None:
        self._driver, self._graph = driver, graph
        self._ready = ctypes.c_void_p()
        try:
            _check(driver.cuGraphInstantiateWithFlags(ctypes.byref(self._ready), graph, ctypes.c_ulonglong(0)))
        except EngineError:
            driver.cuGraphDestroy(graph)
            raise

    def launch(self, stream: int) -> None:
        """Queue the recorded work. Raises EngineError where the driver refuses."""
        _check(self._driver.cuGraphLaunch(self._ready, ctypes.c_void_p(stream)))

    def close(self) -> None:
        """Release it."""
        self._driver.cuGraphExecDestroy(self._ready)
        self._driver.cuGraphDestroy(self._graph)


def record(stream: int, work: Callable[[], None]) -> CudaGraph:
    """Record what `work` queues on the stream, without doing it. Raises EngineError where that cannot be recorded."""
    driver = driver_library()
    _check(driver.cuStreamBeginCapture_v2(ctypes.c_void_p(stream), ctypes.c_int(_THREAD_LOCAL)))
    graph = ctypes.c_void_p()
    try:
        work()
    except BaseException:  # a stream left recording could not be used again
        if driver.cuStreamEndCapture(ctypes.c_void_p(stream), ctypes.byref(graph)) == 0 and graph:
            driver.cuGraphDestroy(graph)
        raise
    _check(driver.cuStreamEndCapture(ctypes.c_void_p(stream), ctypes.byref(graph)))
    return CudaGraph(driver, graph)


@cache
def driver_library() -> Any:
    """Return the CUDA driver's library. Raises EngineError where there is none."""
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise EngineError("no NVIDIA driver here: install it, or use --backend openvino")


def _check(code: int) -> None:
    if code != 0:
        raise EngineError(f"CUDA graphs: the driver answers with error {code}")
