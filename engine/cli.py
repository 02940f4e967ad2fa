"""What the engine's commands share: the tokenizer's flag, and errors as one line and an exit code."""

import argparse
import sys
from collections.abc import Callable

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
