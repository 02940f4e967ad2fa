"""What the engine's commands share: the tokenizer's flag, errors as one line and an exit code, files to write to."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from engine.errors import KinetokenError


def add_tokenizer(parser: argparse.ArgumentParser) -> None:
    """Add --tokenizer."""
    parser.add_argument(
        "--tokenizer", required=True, metavar="NAME_OR_DIR", help="a shipped tokenizer's name or a tokenizer directory"
    )


def run(work: Callable[[], int], prog: str) -> int:
    """Do a command's work and return its exit code; what the user can mend is said in one line."""
    try:
        return work()
    except KinetokenError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{prog}: stopped", file=sys.stderr)
        return 130


def is_writable(file: Path) -> bool:
    """Whether a file may be written or made here. It is not touched."""
    if file.is_dir() or not file.parent.is_dir():
        return False
    return os.access(file if file.exists() else file.parent, os.W_OK)
