"""How long a fresh process takes to its first tokens, and how much memory it needs."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from engine.cache import VARIABLE
from engine.errors import KinetokenError
from engine.tensorrt.manifest import ENGINES, engines_folder

PATIENCE = 600.0
"""Seconds after which a process that gives no tokens is ended."""

# The child says when it has its tokens; then it goes on to the largest batch, and says what memory that took.
_CHILD = """
import sys
import numpy as np
from engine.session import open_encoder
from engine.measure.startup import peak_memory
from engine.sample_windows import usual_added
encoder = open_encoder(sys.argv[1], sys.argv[2], sys.argv[3])
def step(people):
    x = np.full((people, *encoder.spec.input_shape), 0.5, np.float32)
    added = usual_added(encoder.spec, "encoder", people)
    encoder.step(x, np.ones(people, bool), encoder.init_state(people), **added)
for people in (1, int(sys.argv[4])):
    step(people)
    print(peak_memory(), flush=True)
"""


@dataclass(frozen=True)
class Start:
    """first: seconds from the start of the process to the first tokens; memory: MiB at most up to then and with
    `people` in one step."""

    first: float
    memory: float
    people: int
    memory_people: float


def peak_memory() -> float:
    """Return the MiB that this process has held in memory at most, or holds now where the system says no more."""
    try:
        # What getrusage says would count the process that started this one too.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return float(psutil.Process().memory_info().rss / 2**20)


def cold_and_warm(tokenizer: str, backend: str, precision: str, people: int) -> tuple[Start, Start]:
    """Start two processes after each other: the first finds an empty cache of compiled graphs, the second a full one.

    Engines, which are built on purpose, are there both times. Raises KinetokenError where a process ends without
    tokens.
    """
    with tempfile.TemporaryDirectory() as cache:
        (Path(cache) / ENGINES).symlink_to(engines_folder())
        cold, warm = (_start(tokenizer, backend, precision, people, Path(cache)) for _ in range(2))
    return cold, warm


def _start(tokenizer: str, backend: str, precision: str, people: int, cache: Path) -> Start:
    command = [sys.executable, "-c", _CHILD, tokenizer, backend, precision, str(people)]
    begin = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaint,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=complaint, encoding="utf-8", env=os.environ | {VARIABLE: str(cache)}
        ) as child,
    ):
        patience = threading.Timer(PATIENCE, child.kill)
        patience.start()
        try:
            assert child.stdout is not None
            line = child.stdout.readline()
            first = time.perf_counter() - begin
            rest = child.stdout.read()
            child.wait()
        finally:
            patience.cancel()
            child.kill()
        complaint.seek(0)
        said = " ".join(complaint.read().split())[-200:] or f"exit code {child.returncode}"
    try:
        memory, memory_people = float(line), float(rest)
    except ValueError:
        raise KinetokenError(f"{backend} in {precision} exited without tokens: {said}") from None
    return Start(first, memory, people, memory_people)
