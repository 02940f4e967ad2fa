"""A command on a machine whose wall clock is set: `python -m tests.drills.stepped MODULE [FLAGS]`.

SIGUSR1 sets the wall clock of this process an hour ahead, SIGUSR2 back to what it was, and once more an hour behind.
"""

import runpy
import signal
import sys
import time
import types

HOUR = 3600
_real, _real_ns = time.time, time.time_ns
_offset = 0


def _step(number: int, frame: types.FrameType | None) -> None:
    global _offset
    _offset += HOUR if number == signal.SIGUSR1 else -HOUR


def main() -> None:
    """Put the clock in place and run the command."""
    time.time = lambda: _real() + _offset
    time.time_ns = lambda: _real_ns() + _offset * 10**9
    signal.signal(signal.SIGUSR1, _step)
    signal.signal(signal.SIGUSR2, _step)
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
