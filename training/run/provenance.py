"""Where a run comes from: code, data, machine. Written beside its checkpoint as run.json."""

import hashlib
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from engine.measure.machine import processor
from training.config import DataConfig
from training.run import distributed as parallel

CODE = ("engine", "stream", "training", "pyproject.toml")
"""What a run depends on besides its configuration and its data, which it keeps by themselves."""

HASHED = 2 << 30
"""Bytes of a set of recordings up to which its content is hashed; of a larger one, names and sizes."""


def code_version(checkout: Path = Path(__file__).parents[2]) -> str:
    """Return what `git describe` says of the code, or the package's version where it is in no repository of its own.

    It ends in "-dirty" where code was changed since; a page that a sweep writes is not code.
    """
    if _git(checkout, "ls-files", "training/run/provenance.py"):  # not so in the repository of something else
        described = _git(checkout, "describe", "--always", "--tags")
        changed = _git(checkout, "status", "--porcelain", "--untracked-files=no", "--", *CODE)
        return f"{described}-dirty" if changed else described
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("kinetoken")
    except PackageNotFoundError:
        return "unknown"


def _git(checkout: Path, *arguments: str) -> str:
    """Return what a git command says there; nothing where there is no git or no repository."""
    command = ["git", "-C", str(checkout), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def describe_data(path: Path) -> dict[str, Any]:
    """Return how many files and bytes a set of recordings has, and a sha256 over their names and contents."""
    place = path if path.exists() else path.with_name(path.name.split("@")[0])
    files = sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
    sizes = [file.stat().st_size for file in files]
    whole = sum(sizes) <= HASHED
    total = hashlib.sha256()
    for file, size in zip(files, sizes, strict=True):
        total.update(f"{file.name} {size}\n".encode())
        if whole:
            with file.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
    hashed = "names and contents" if whole else "names and sizes"
    return {"files": len(files), "bytes": sum(sizes), "sha256": total.hexdigest(), "hashed": hashed}


def machine() -> dict[str, Any]:
    """Return what the run runs on."""
    gpus = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return {"cpu": processor(), "cores": os.cpu_count(), "gpus": gpus}


def write(config: DataConfig, seed: int, folder: Path, step: int) -> None:
    """Add this start of the run to run.json: a run that was resumed lists every start."""
    file = folder / "run.json"
    starts = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    root = Path(config.root)
    data = {path: describe_data(root / path) for path in [g.path for g in config.train] + config.validate}
    starts.append(
        {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "from_step": step,
            "seed": seed,
            "code": code_version(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": machine(),
            "processes": parallel.world(),
            "data": data,
        }
    )
    file.write_text(json.dumps(starts, indent=2) + "\n", encoding="utf-8")
