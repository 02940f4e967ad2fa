"""Packages that come with an extra: what to install where one is missing."""

import importlib.util
import os
import sys
from types import TracebackType

from engine.errors import MissingPackageError

_TRAIN = (
    "torch",
    "omegaconf",
    "PIL",
    "onnxscript",
    "safetensors",
    "tensorboard",
    "skimage",
    "sklearn",
    "zstandard",
    "onnx",
)

EXTRAS = {
    **dict.fromkeys((*_TRAIN, "vector_quantize_pytorch"), "train"),
    "matplotlib": "plot",
    "pyarrow": "parquet",
    "pycuda": "tensorrt",
    "mcap": "mcap",
    "nats": "nats",
    "paho": "mqtt",
    "pylsl": "lsl",
    "pythonosc": "osc",
}
"""The extra that brings a package, by the name under which it is imported."""


def missing_package(error: ModuleNotFoundError) -> MissingPackageError | None:
    """Return what to say of a package that could not be imported; None if no extra of ours brings it."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return None
    return MissingPackageError(_told(package))


def explain_missing_packages() -> None:
    """From now on, let a missing package end the process with one line, also while a command is still importing."""
    before = sys.excepthook

    def explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, ModuleNotFoundError) and (missing := missing_package(error)):
            print(f"error: {missing}", file=sys.stderr, flush=True)
            os._exit(missing.exit_code)
        before(kind, error, trace)

    sys.excepthook = explain


def need_package(package: str) -> None:
    """Raise MissingPackageError where a package is not installed that work of minutes would end with."""
    if importlib.util.find_spec(package) is None:
        raise MissingPackageError(_told(package))


def _told(package: str) -> str:
    return f"this needs {package}, which is not installed: pip install 'kinetoken[{EXTRAS[package]}]'"
