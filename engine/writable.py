"""Whether a file can be written, asked before the minutes of work that fill it."""

import os
from pathlib import Path


def is_writable(file: Path) -> bool:
    """Whether a file may be written or made here. It is not touched."""
    if file.is_dir() or not file.parent.is_dir():
        return False
    return os.access(file if file.exists() else file.parent, os.W_OK)
