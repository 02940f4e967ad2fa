"""Memory that cannot grow without end: the entries used most recently.

By hand and not cachetools, whose LRU cache takes every look at an entry for a use: here metrics, pages and answers look
at what is remembered, and only a message of a stream or a packet of a track is to keep it.
"""

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
