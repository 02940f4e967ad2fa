"""The NVIDIA GPU through pycuda: one context and one stream, which all sessions share, released at exit.

The context is the device's primary one, which TensorRT uses by itself.
"""

import atexit
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from engine.errors import EngineError
from engine.tensorrt.cuda_graph import driver_library


class Owner(Protocol):
    """Whatever holds memory of the GPU."""

    def close(self) -> None:
        """Release it. Idempotent."""


class Gpu:
    """The first GPU that CUDA shows (CUDA_VISIBLE_DEVICES chooses)."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        device = driver.Device(0)
        self.name: str = device.name()
        self.capability = ".".join(map(str, device.compute_capability()))
        self._context = device.retain_primary_context()
        self._owners: weakref.WeakSet[Owner] = weakref.WeakSet()
        self._lock = threading.RLock()
        self._closed = False
        with self.active():
            self.stream = driver.Stream()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make the context this thread's own for a while; threads wait for each other, as they share one stream.

        Raises EngineError in place of what pycuda raises within.
        """
        with self._lock:
            self._context.push()
            try:
                yield
            except self._driver.Error as error:
                raise EngineError(f"CUDA error on {self.name}: {error}") from None
            finally:
                self._driver.Context.pop()

    def own(self, owner: Owner) -> None:
        """Have an owner closed before the context goes."""
        self._owners.add(owner)

    def free_bytes(self) -> int:
        """Memory of the GPU that nobody uses. Needs `active`, like all that follows."""
        return int(self._driver.mem_get_info()[0])

    def allocate(self, size: int) -> Any:
        """Return `size` bytes of the GPU, zeroed. Raises EngineError where there is not enough."""
        try:
            memory = self._driver.mem_alloc(max(size, 1))
        except self._driver.MemoryError:
            raise EngineError(_short(self.name, size, self.free_bytes())) from None
        self._driver.memset_d8_async(int(memory), 0, max(size, 1), self.stream)
        return memory

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array of the host that the GPU copies from and to by itself."""
        array: NDArray[Any] = self._driver.pagelocked_empty(shape, np.dtype(dtype))
        array.fill(0)
        return array

    def upload(self, to: int, array: NDArray[Any]) -> None:
        """Queue a copy to the GPU; the array must stay as it is until the stream has done it."""
        self._driver.memcpy_htod_async(to, array, self.stream)

    def download(self, array: NDArray[Any], source: int) -> None:
        """Queue a copy from the GPU."""
        self._driver.memcpy_dtoh_async(array, source, self.stream)

    def move(self, to: int, source: int, size: int) -> None:
        """Queue a copy within the GPU."""
        self._driver.memcpy_dtod_async(to, source, size, self.stream)

    def clear(self, to: int, size: int) -> None:
        """Queue zeros."""
        self._driver.memset_d8_async(to, 0, size, self.stream)

    def wait(self) -> None:
        """Return when all that was queued is done."""
        self.stream.synchronize()

    def check_free(self, size: int) -> None:
        """Raise EngineError where less than `size` bytes are free."""
        if (free := self.free_bytes()) < size:
            raise EngineError(_short(self.name, size, free))

    def close(self) -> None:
        """Release everything, the context last."""
        if self._closed:
            return
        self._closed = True
        with ExitStack() as last_first:
            last_first.callback(self._context.detach)
            last_first.callback(self._close_stream)
            for owner in list(self._owners):
                last_first.callback(owner.close)

    def _close_stream(self) -> None:
        with self.active():
            try:
                self.wait()
            finally:
                del self.stream


def _short(name: str, size: int, free: int) -> str:
    return (
        f"too little memory on the {name}: {size / 2**20:.0f} MiB needed, {free / 2**20:.0f} MiB free; "
        "close other programs or build with a smaller --max-batch"
    )


_found: list[Gpu] = []
_guard = threading.Lock()


def gpu() -> Gpu:
    """Return the GPU, the same at every call. Raises EngineError where there is none, or no driver or no pycuda."""
    with _guard:
        if not _found:
            _found.append(_open())
            atexit.register(_close)
        return _found[0]


def _open() -> Gpu:
    driver_library()  # without it pycuda could not be imported, and need not be asked for
    try:
        import pycuda.driver as driver
    except ModuleNotFoundError:
        raise EngineError("pycuda is not installed: pip install pycuda (needs NVIDIA's CUDA toolkit)") from None
    except ImportError as error:
        raise EngineError(f"pycuda does not load ({error}): build it again for this driver and CUDA toolkit") from None
    try:
        driver.init()
        count = driver.Device.count()
    except driver.Error as error:
        raise EngineError(f"no NVIDIA GPU can be used here ({error}): use --backend openvino") from None
    if count == 0:
        raise EngineError("no NVIDIA GPU here: use --backend openvino")
    try:
        return Gpu(driver)
    except driver.Error as error:
        raise EngineError(f"the NVIDIA GPU cannot be used ({error}): use --backend openvino") from None


def _close() -> None:
    with _guard:
        while _found:
            _found.pop().close()
