"""A GPU that is none: the few calls of pycuda and TensorRT that the runtime makes, with memory of the host behind them.

What is queued is done only when somebody waits for the stream, so that a missing wait shows. An "engine" holds an ONNX
graph, which ONNX Runtime runs on the bytes at the addresses that were bound.
"""

import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Work = Callable[[], None]


class FakeDriver:
    """Stands in for pycuda.driver."""

    class Error(Exception):
        """Root of what pycuda raises."""

    class MemoryError(Error):
        """Out of memory."""

    def __init__(self, total: int = 1 << 30, devices: int = 1, capability: tuple[int, int] = (8, 9)) -> None:
        self.total, self.capability = total, capability
        self.blocks: dict[int, NDArray[np.uint8]] = {}
        self.queue: list[Work] = []
        self.recording: list[Work] | None = None
        self.released: list[str] = []
        self.depth = self.allocations = self.copies = self.pinned = 0
        self.next = 1 << 20
        driver = self

        class Context:
            def push(self) -> None:
                driver.depth += 1

            @staticmethod
            def pop() -> None:
                driver.depth -= 1

            def detach(self) -> None:
                assert not driver.blocks, "memory outlives the context"
                assert driver.pinned == 0, "pinned memory outlives the context"
                driver.released.append("context")

        class Device:
            def __init__(self, number: int) -> None:
                assert number == 0

            @staticmethod
            def count() -> int:
                return devices

            def name(self) -> str:
                return "Fake 4090"

            def compute_capability(self) -> tuple[int, int]:
                return driver.capability

            def retain_primary_context(self) -> Context:
                return Context()

        class Stream:
            handle = 7

            def __init__(self) -> None:
                driver.need_context()

            def synchronize(self) -> None:
                driver.need_context()
                assert driver.recording is None, "a stream cannot be waited for while it is recorded"
                for work in driver.queue:
                    work()
                driver.queue.clear()

        self.Context, self.Device, self.Stream = Context, Device, Stream

    def need_context(self) -> None:
        assert self.depth > 0, "no context is current"

    def init(self) -> None:
        """As cuInit."""

    def mem_get_info(self) -> tuple[int, int]:
        self.need_context()
        return self.total - sum(block.size for block in self.blocks.values()), self.total

    def mem_alloc(self, size: int) -> "FakeMemory":
        self.need_context()
        assert self.recording is None
        if size > self.mem_get_info()[0]:
            raise self.MemoryError("cuMemAlloc failed: out of memory")
        self.allocations += 1
        address, self.next = self.next, self.next + size + 512
        self.blocks[address] = np.full(size, 0xFF, np.uint8)  # NaN where nobody has written
        return FakeMemory(self, address)

    def at(self, address: int, size: int) -> NDArray[np.uint8]:
        assert type(address) is int
        for start, block in self.blocks.items():
            if start <= address and address + size <= start + block.size:
                return block[address - start : address - start + size]
        raise AssertionError(f"{size} bytes at {address} belong to nobody")

    def put(self, work: Work) -> None:
        self.need_context()
        (self.queue if self.recording is None else self.recording).append(work)

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        self.need_context()
        array = np.empty(shape, dtype)
        self.pinned += 1
        weakref.finalize(array, self._unpin)
        return array

    def _unpin(self) -> None:
        self.pinned -= 1

    def memcpy_htod_async(self, to: int, source: NDArray[Any], stream: Any) -> None:
        assert source.flags.c_contiguous
        self.put(lambda: self.at(to, source.nbytes).__setitem__(slice(None), source.reshape(-1).view(np.uint8)))

    def memcpy_dtoh_async(self, to: NDArray[Any], source: int, stream: Any) -> None:
        assert to.flags.c_contiguous
        self.put(lambda: to.reshape(-1).view(np.uint8).__setitem__(slice(None), self.at(source, to.nbytes)))

    def memcpy_dtod_async(self, to: int, source: int, size: int, stream: Any) -> None:
        self.copies += 1
        self.put(lambda: self.at(to, size).__setitem__(slice(None), self.at(source, size)))

    def memset_d8_async(self, to: int, value: int, size: int, stream: Any) -> None:
        self.put(lambda: self.at(to, size).fill(value))

    def record(self, stream: int, work: Work) -> "FakeGraph":
        """Stands in for engine.tensorrt.cuda_graph.record."""
        assert stream == 7
        assert not self.queue
        self.recording = []
        try:
            work()
            return FakeGraph(self, self.recording)
        finally:
            self.recording = None


class FakeMemory:
    def __init__(self, driver: FakeDriver, address: int) -> None:
        self._driver, self._address = driver, address

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        del self._driver.blocks[self._address]
        self._driver.released.append("memory")


class FakeGraph:
    def __init__(self, driver: FakeDriver, work: list[Work]) -> None:
        self._driver, self._work, self.launches = driver, work, 0

    def launch(self, stream: int) -> None:
        self.launches += 1
        self._driver.queue += self._work

    def close(self) -> None:
        self._work.clear()
        self._driver.released.append("graph")


def fake_tensorrt(driver: FakeDriver, rtx: bool = False) -> Any:
    """Return what stands in for the module `tensorrt`, or `tensorrt_rtx`, without a builder."""

    class ILogger:
        ERROR, INTERNAL_ERROR = "error", "internal"

    class Context:
        def __init__(self, session: Any) -> None:
            self._session, self._shapes = session, dict[str, tuple[int, ...]]()
            self._addresses: dict[str, int] = {}

        def __del__(self) -> None:
            driver.released.append("execution context")

        def set_device_memory(self, memory: int, size: int) -> None:
            driver.at(memory, size)

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
            self._shapes[name] = shape

        def set_tensor_address(self, name: str, address: int) -> None:
            self._addresses[name] = address

        def execute_async_v3(self, stream: int) -> bool:
            assert stream == 7
            session, shapes, addresses = self._session, dict(self._shapes), dict(self._addresses)
            driver.put(lambda: _execute(driver, session, shapes, addresses))
            return True

    class Engine:
        device_memory_size_v2 = 4096

        def __init__(self, data: bytes) -> None:
            self._session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

        def __del__(self) -> None:
            driver.released.append("engine")

        def create_execution_context(self, strategy: str) -> Context:
            assert strategy == "user managed"
            return Context(self._session)

    class RtxContext(Context):
        def is_stream_capturable(self, stream: int) -> bool:
            return stream == 7

    class RuntimeConfig:
        dynamic_shapes_kernel_specialization_strategy = "lazy"
        allocation = "static"

        def set_execution_context_allocation_strategy(self, strategy: str) -> None:
            self.allocation = strategy

    class RtxEngine(Engine):
        def create_runtime_config(self) -> RuntimeConfig:
            return RuntimeConfig()

        def create_execution_context(self, config: Any) -> RtxContext:
            asked = (config.allocation, config.dynamic_shapes_kernel_specialization_strategy)
            assert asked == ("user managed", "eager")
            return RtxContext(self._session)

    class Runtime:
        def __init__(self, log: Any) -> None:
            self._log = log

        def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
            if data == b"broken":
                self._log.log(ILogger.ERROR, "magic tag does not match")
                return None
            return (RtxEngine if rtx else Engine)(data)

    return SimpleNamespace(
        ILogger=ILogger,
        Runtime=Runtime,
        DynamicShapesKernelSpecializationStrategy=SimpleNamespace(EAGER="eager"),
        ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="user managed"),
    )


def _execute(driver: FakeDriver, session: Any, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
    feeds = {}
    for name, shape in shapes.items():
        dtype = np.dtype(np.int32 if name == "tokens" else np.float32)
        raw = driver.at(addresses[name], int(np.prod(shape)) * dtype.itemsize)
        feeds[name] = raw.copy().view(dtype).reshape(shape)
    names = [node.name for node in session.get_outputs()]
    for name, value in zip(names, session.run(names, feeds), strict=True):
        driver.at(addresses[name], value.nbytes)[:] = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
