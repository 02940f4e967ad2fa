"""Which TensorRT is installed: the datacenter's `tensorrt` or `tensorrt_rtx`, which share their Python interface."""

import importlib.util
from dataclasses import dataclass
from typing import Any, Literal

from engine.errors import EngineError

FlavourName = Literal["tensorrt", "tensorrt_rtx"]
FLAVOURS: tuple[FlavourName, ...] = ("tensorrt", "tensorrt_rtx")
EXTRA = {"tensorrt": "kinetoken[tensorrt]", "tensorrt_rtx": "kinetoken[tensorrt-rtx]"}


@dataclass(frozen=True)
class Flavour:
    """An installed TensorRT. module: its Python module, untyped."""

    name: FlavourName
    version: str
    module: Any

    @property
    def portable(self) -> bool:
        """Whether it builds without a GPU, for compute capabilities rather than for the GPU at hand."""
        return self.name == "tensorrt_rtx"

    def logger(self) -> Any:
        """Return a logger that prints nothing and keeps complaints in `said`, the first of them the cause."""
        trt = self.module

        class Logger(trt.ILogger):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.said: list[str] = []

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                    self.said.append(" ".join(message.split()))

        return Logger()


def load_flavour(name: FlavourName) -> Flavour:
    """Import one TensorRT. Raises ModuleNotFoundError where it is not installed, EngineError where it does not load."""
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            raise
        raise EngineError(f"{name} does not load ({error}): pip install '{EXTRA[name]}'") from None
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineError(f"{name} does not load ({error}): pip install '{EXTRA[name]}'") from None
    return Flavour(name, module.__version__, module)


def present() -> bool:
    """Whether any TensorRT is installed, without loading it."""
    return any(importlib.util.find_spec(name) is not None for name in FLAVOURS)


def installed() -> list[Flavour]:
    """Return every TensorRT that is installed and loads."""
    found = []
    for name in FLAVOURS:
        try:
            found.append(load_flavour(name))
        except (ModuleNotFoundError, EngineError):
            continue
    return found
