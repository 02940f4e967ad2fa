"""How far a long loop is: a bar with the time left in a terminal, a line a minute elsewhere."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")

EVERY = 60.0
"""Seconds between lines."""


def shown(items: Sequence[T], what: str) -> Iterator[T]:
    """Yield the items and show on standard error how far the loop over them is."""
    if sys.stderr is not None and sys.stderr.isatty():
        yield from track(items, description=what, console=Console(stderr=True), transient=True)
        return
    start = said = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - said >= EVERY:
            said = now
            left = (now - start) / done * (len(items) - done)
            print(f"{what}: {done} of {len(items)}, {left:.0f} s left", file=sys.stderr, flush=True)
        yield item
