"""Imports a library without others that it could do without."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def absent(name: str, *, empty: bool = False) -> Iterator[None]:
    """Let `import name` fail meanwhile, as where it is not installed; nothing changes if it is imported already.

    empty: let it give a module without anything in it, for a library that does not expect it to fail.
    """
    hidden = name not in sys.modules
    if hidden:
        sys.modules[name] = ModuleType(name) if empty else None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules[name]
