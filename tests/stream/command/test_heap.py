"""One heap: what the threads of one landmarker give back, those of the next one use."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

CHURN = """
import ctypes, sys, threading
from stream.command.heap import share_heap

share_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def take():
    barrier.wait()  # all at once, so that glibc would give each thread a heap of its own
    blocks = [libc.malloc(ctypes.c_size_t(64)) for _ in range(100)]
    heaps.update(block >> 26 for block in blocks)  # a thread's own heap lies on a border of 64 MiB
    barrier.wait()

heaps, barrier = set(), threading.Barrier(8)
threads = [threading.Thread(target=take) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(heaps))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heaps are Linux's")
def test_threads_share_the_heap() -> None:
    def heaps(code: str) -> int:
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
        return int(done.stdout)

    assert heaps(CHURN) <= 2  # one, which may lie across a border
    assert heaps(CHURN.replace("share_heap()\n", "")) > 2
