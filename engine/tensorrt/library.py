"""Which TensorRT is installed: the datacenter's `tensorrt` or `tensorrt_rtx`, which share their Python interface."""

import importlib.util
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from engine.errors import EngineError

FlavourName = Literal["tensorrt", "tensorrt_rtx"]
FLAVOURS: tuple[FlavourName, ...] = ("tensorrt", "tensorrt_rtx")
EXTRA = {"tensorrt": "kinetoken[tensorrt]", "tensorrt_rtx": "kinetoken[tensorrt-rtx]"}


@dataclass(frozen=True)
class TensorRtLibrary:
    """An installed TensorRT. module: its Python module, untyped; log: where it complains.

    TensorRT keeps the first logger that it is given for the whole process, whatever it is given later, so there is one
    for each flavour, and it stays.
    """

    name: FlavourName
    version: str
    module: Any
    log: Any = field(init=False)

    def __post_init__(self) -> None:
        """Make the logger."""
        object.__setattr__(self, "log", _make_logger(self.module))

    @property
    def portable(self) -> bool:
        """Whether it builds without a GPU, for compute capabilities rather than for the GPU at hand."""
        return self.name == "tensorrt_rtx"

    def forget(self) -> None:
        """Begin something new: what was said before has other causes."""
        self.log.said.clear()

    def why(self) -> str:
        """Return what was complained of first since `forget`: the cause of the rest."""
        return str(self.log.said[0]) if self.log.said else "it gives no reason"


def _make_logger(trt: Any) -> Any:
    """Return a logger that prints nothing and keeps complaints in `said`."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.said: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.said.append(" ".join(message.split()))

    return Logger()


@cache
def load_flavour(name: FlavourName) -> TensorRtLibrary:
    """Import one TensorRT, once.

    Raises ModuleNotFoundError where it is not installed, EngineError where it does not load.
    """
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            raise
        raise EngineError(f"{name} does not load ({error}): pip install '{EXTRA[name]}'") from None
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineError(f"{name} does not load ({error}): pip install '{EXTRA[name]}'") from None
    return TensorRtLibrary(name, module.__version__, module)


def present() -> bool:
    """Whether any TensorRT is installed, without loading it."""
    return any(importlib.util.find_spec(name) is not None for name in FLAVOURS)


def installed() -> list[TensorRtLibrary]:
    """Return every TensorRT that is installed and loads."""
    found = []
    for name in FLAVOURS:
        try:
            found.append(load_flavour(name))
        except (ModuleNotFoundError, EngineError):
            continue
    return found
