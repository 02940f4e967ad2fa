"""`python -m tests.drills`: what the stream promises, put to the test; a table of figures at the end."""

import argparse
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from .catalogue import DRILLS
from .result import Figure, NotRun, Outcome, Plan, markdown, rows, write


def main() -> int:
    """Run the drills one after the other; return 0 if everything is as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=DRILLS, metavar="NAME", help=f"of {', '.join(DRILLS)}")
    parser.add_argument("--quick", action="store_true", help="the short forms, as in the suite")
    parser.add_argument("--minutes", type=float, default=30.0, help="length of the long run (default: 30)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="keep the figures in this .json or .md file")
    options = parser.parse_args()
    # Asked to end, it ends what it has started: `finally` and `with` have their say.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    outcomes = []
    for name in options.only or DRILLS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        outcomes.append(run(name, DRILLS[name], options.quick, options.minutes))
        if options.out:
            write(options.out, outcomes, list(DRILLS))
    print(markdown(rows(outcomes)))
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def run(name: str, drill: Callable[[Plan], list[Figure]], quick: bool = False, minutes: float = 30.0) -> Outcome:
    """Run one drill in a folder that is gone afterwards; a drill that breaks down has failed."""
    begin = time.monotonic()
    figures, reason = [], ""
    with tempfile.TemporaryDirectory(prefix=f"drill-{name}-") as scratch:
        try:
            figures = drill(Plan(Path(scratch), quick, minutes))
        except NotRun as why:
            reason = str(why)
        except Exception as error:
            traceback.print_exc()
            figures = [Figure("the drill itself", "ends", f"{type(error).__name__}: {error}", False)]
    outcome = Outcome(name, figures, reason, round(time.monotonic() - begin, 1))
    for row in rows([outcome]):
        print("  " + " | ".join(row[1:]), file=sys.stderr, flush=True)
    print(f"  {outcome.seconds:g} s", file=sys.stderr, flush=True)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
