"""What a running producer tells its user: one line on a terminal, rewritten; one line now and then elsewhere."""

import sys
import time
from collections import deque

from rich.console import Console
from rich.status import Status

EVERY = 10.0
"""Seconds between lines where there is no terminal."""

REFRESH = 0.25
"""Seconds between changes of the line on a terminal."""


class Report:
    """Counts and shows. Everything goes to standard error."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._status: Status | None = None
        self._times: deque[float] = deque(maxlen=90)
        self._shown = self._started = time.monotonic()
        self._counters: dict[str, int] = {}

    def say(self, message: str) -> None:
        """Print one line that stays."""
        self._console.print(message, markup=False)

    def frame(self, people: int, counters: dict[str, int]) -> None:
        """Note that a frame was done; people are encoded now; counters are totals by name."""
        now = time.monotonic()
        self._times.append(now)
        self._counters = counters
        terminal = self._console.is_terminal
        if now - self._shown < (REFRESH if terminal else EVERY):
            return
        self._shown = now
        line = f"{self._rate()}  people {people}  {self._totals()}"
        if not terminal:
            self.say(line)
        elif self._status is None:
            self._status = self._console.status(line)
            self._status.start()
        else:
            self._status.update(line)

    def end(self, reason: str) -> None:
        """Print the totals."""
        if self._status is not None:
            self._status.stop()
        self.say(f"{reason} after {time.monotonic() - self._started:.1f} s: {self._totals()}")

    def _rate(self) -> str:
        # Count over span, not the mean of the gaps: cameras send in bursts.
        span = self._times[-1] - self._times[0]
        return f"{(len(self._times) - 1) / span:5.1f} fps" if span > 0 else "    - fps"

    def _totals(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in self._counters.items())
