"""A producer whose guard dies of the first reader that comes: `python -m tests.drills.guardless [FLAGS]`."""

import runpy
import sys
from typing import Any

from stream.wire import security


def main() -> None:
    """Make the guard mortal and run the producer."""

    def die(*request: object) -> None:
        raise RuntimeError("killed by the drill")

    mortal: Any = security.Guard
    mortal._reply = die
    sys.argv[0] = "producer"
    runpy.run_module("stream.producer", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
