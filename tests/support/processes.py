"""Processes that tests start."""

import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""Where commands run: the checkout."""

Start = Callable[..., subprocess.Popen[str]]
"""Starts a process: its arguments are the test's own."""
