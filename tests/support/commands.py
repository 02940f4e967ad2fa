"""Commands that tests run in this process."""

from collections.abc import Sequence
from types import ModuleType

from engine.command.cli import run


def call(command: ModuleType, argv: Sequence[str]) -> int:
    """Run the command of a module of engine/ or training/; return its exit code."""
    return run(command.main, command.Config, prog=command.__name__, examples=command.EXAMPLES, argv=argv, batch=True)
