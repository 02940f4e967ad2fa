"""The feed: everything in order, errors after the frames before them, and no thread left behind."""

import threading
import time
from collections.abc import Iterator

import pytest

from stream.errors import SourceError
from stream.sources.base import PoseFrame, Unit
from stream.sources.threaded import DEPTH, Threaded


class Numbers:
    """A source of so many empty frames, then an error if there is one; before frame `gate_at` it waits for the gate."""

    unit: Unit = "px"
    label = "numbers"

    def __init__(self, count: int, error: Exception | None = None, gate_at: int = -1) -> None:
        self.count, self.error, self.gate_at = count, error, gate_at
        self.gate = threading.Event()
        self.given = 0
        self.counts: dict[str, int] = {}

    def __iter__(self) -> Iterator[PoseFrame]:
        for n in range(self.count):
            if n == self.gate_at:
                self.gate.wait(10)
            self.given += 1
            yield PoseFrame({}, n / 30, n)
        if self.error:
            raise self.error

    def close(self) -> None:
        pass


def test_frames_come_in_order_and_end() -> None:
    assert [f.captured_ns for f in Threaded(Numbers(50)) if f] == list(range(50))


def test_an_error_comes_after_the_frames_before_it() -> None:
    feed = iter(Threaded(Numbers(7, SourceError("broke off")), idle=10))
    assert [frame.captured_ns for _ in range(7) if (frame := next(feed))] == list(range(7))
    with pytest.raises(SourceError, match="broke off"):
        next(feed)


def test_a_silent_source_yields_none_meanwhile() -> None:
    source = Numbers(3, gate_at=1)
    seen: list[int | None] = []
    for frame in Threaded(source, idle=0.01):
        seen.append(frame.captured_ns if frame else None)
        if frame is None:
            source.gate.set()
    assert None in seen
    assert [n for n in seen if n is not None] == [0, 1, 2]


def test_the_source_waits_for_a_slow_reader() -> None:
    source = Numbers(100)
    feed = iter(Threaded(source))
    next(feed)
    deadline = time.monotonic() + 5
    while source.given < DEPTH + 2 and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    assert source.given == DEPTH + 2  # one taken, those in between, one in hand


def test_leaving_early_ends_the_reading() -> None:
    feed = Threaded(Numbers(10**9), idle=0.01)
    for frame in feed:
        if frame and frame.captured_ns > 5:
            break
    feed._thread.join(5)
    assert not feed._thread.is_alive()
