"""What machine this is, for figures that depend on it."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, versions."""
    versions = {}
    for package in ("numpy", "openvino", "onnxruntime", "tensorrt", "tensorrt-rtx"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version(), **versions}


def processor() -> str:
    """Return the name of the processor, with family and model where Linux tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    said = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    fields = {key.strip(): value.strip() for key, value in said.items()}
    name = fields.get("model name", platform.machine())
    return f"{name} (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else name
