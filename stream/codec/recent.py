"""Memory that cannot grow without end: the entries used most recently."""

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def recall(entries: OrderedDict[K, V], key: K, make: Callable[[], V], limit: int) -> V:
    """Return the entry of `key`, made if missing; of more than `limit` forget the one unused for longest."""
    if key not in entries:
        entries[key] = make()
    entries.move_to_end(key)
    if len(entries) > limit:
        entries.popitem(last=False)
    return entries[key]
