"""One heap for all threads, so that memory which is given back can be used again."""

import ctypes
import sys

_ARENA_MAX = -8
"""M_ARENA_MAX of glibc's malloc.h."""


def share_heap() -> None:
    """Let the threads of this process take their memory from one heap. Where libc is not glibc, nothing happens.

    Landmarkers come and go with the people they follow, each with threads of its own. glibc gives new threads new
    heaps, and what one heap got back no other uses: two people who came and went every five seconds made a producer
    grow by 380 MiB an hour.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if tune is not None:
        tune(_ARENA_MAX, 1)
