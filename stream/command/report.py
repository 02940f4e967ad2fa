"""What a running producer tells its user: one line on a terminal, rewritten; one now and then elsewhere."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.status import Status

from engine.command.messages import LogFormat, plain, say

EVERY = 10.0
"""Seconds between lines without a terminal."""

REFRESH = 0.25
"""Seconds between changes of the line on a terminal."""


@contextmanager
def unheard() -> Iterator[None]:
    """Go on where nobody takes what is said: a full disk behind standard error, or a reader that has left, as `tee`."""
    with suppress(OSError, SystemExit):  # rich ends the process where a pipe has broken
        yield


class Report:
    """Counts and shows. Everything goes to standard error, as JSON through the log."""

    def __init__(self, log_format: LogFormat = "text") -> None:
        self._json = log_format == "json"
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._status: Status | None = None
        self._times: deque[float] = deque(maxlen=90)
        self._shown = self._started = time.monotonic()
        self._counters: dict[str, int] = {}

    def say(self, message: str, event: str = "started", **fields: Any) -> None:
        """Print a line that stays; as JSON it has the event's name and fields too."""
        if self._json:
            say(message, event, **fields)
            return
        with unheard():
            self._console.print(plain(message), markup=False)

    def frame(self, people: int, counters: dict[str, int]) -> None:
        """Note that a frame was done; people are encoded now; counters are totals by name."""
        now = time.monotonic()
        self._times.append(now)
        self._counters = counters
        terminal = self._console.is_terminal and not self._json
        if now - self._shown < (REFRESH if terminal else EVERY):
            return
        self._shown = now
        line = f"{self._rate_line()}  people {people}  {self._totals()}"
        if not terminal:
            self.say(line, "progress", fps=self.fps, people=people, counters=counters)
            return
        with unheard():
            if self._status is None:
                self._status = self._console.status(line)
                self._status.start()
            else:
                self._status.update(line)

    def end(self, reason: str) -> None:
        """Print the totals."""
        if self._status is not None:
            with unheard():
                self._status.stop()
        seconds = time.monotonic() - self._started
        line = f"{reason} after {seconds:.1f} s: {self._totals()}"
        self.say(line, "ended", reason=reason, seconds=round(seconds, 3), counters=self._counters)

    @property
    def fps(self) -> float | None:
        """Frames per second over the last 90 frames; None before the second."""
        times = list(self._times)  # another thread may ask
        # Count over span, not the mean of the gaps: cameras send in bursts.
        span = times[-1] - times[0] if times else 0.0
        return (len(times) - 1) / span if span > 0 else None

    @property
    def last_frame(self) -> float | None:
        """When the last frame was done, on the monotonic clock; None before the first."""
        return self._times[-1] if self._times else None

    def _rate_line(self) -> str:
        return f"{self.fps:5.1f} fps" if self.fps else "    - fps"

    def _totals(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in self._counters.items())
