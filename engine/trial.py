"""Tries a decoder that comes from somebody else, in a process of its own, before this one opens it.

A graph of plain operators can still be slow, or crash a runtime. What a step asks for is counted; what shows only when
it is done, such as constants that take long to fold, meets the limits of that process.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from engine.errors import KinetokenError, TokenizerError

MULTIPLY_ADDS = 4_000_000_000
"""Multiply-adds that a step may ask for: a fifth of a second on two cores. Our largest decoder asks for a twelfth."""

MOVED = 2**28
"""Numbers that the operators of a step may read and write, together. Those of our largest decoder take an eighth."""

PATIENCE = 60.0
"""Seconds that opening a decoder and one step may take; ours take one."""

MEMORY = 2 * 2**30
"""Bytes that may be taken for it; ours take 0.3 GiB."""

_TRIAL = "import sys; from engine.trial import main; sys.exit(main(sys.argv[1]))"
_LOOK_S = 0.05
_REFUSED = TokenizerError.exit_code


def try_out(folder: Path, abandoned: Callable[[], bool] = lambda: False) -> None:
    """Open the decoder in a tokenizer's folder and run a step of it, elsewhere.

    abandoned: asked all the time; true ends the trial at once. Raises TokenizerError where the decoder asks for too
    much or the trial did not end well.
    """
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    with subprocess.Popen(
        [sys.executable, "-P", "-c", _TRIAL, str(folder)],
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is the caller's to hear
    ) as process:
        try:
            code = _wait(process, abandoned)
        finally:
            process.kill()
        told = process.stdout.read().decode(errors="replace").strip() if process.stdout else ""
    if code != 0:
        raise TokenizerError(told if code == _REFUSED else "its decoder does not open within the limits of a trial")


def _wait(process: "subprocess.Popen[bytes]", abandoned: Callable[[], bool]) -> int | None:
    """Return the exit code; None for a process that takes too long, or is no longer wanted."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and not abandoned():
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_LOOK_S)
    return None


def check_work(graph: Path) -> None:
    """Raise TokenizerError for a graph of which a step asks for too much, or for how much cannot be told."""
    from engine.measure.work import work_of

    try:
        work = work_of(graph)
    except (ValueError, RuntimeError) as error:
        raise TokenizerError(f"{graph.name} is not a graph that may come from elsewhere: {error}") from None
    for asked, most, what in (
        (work.multiply_adds, MULTIPLY_ADDS, "multiply-adds"),
        (work.moved, MOVED, "numbers read and written"),
    ):
        if asked > most:
            raise TokenizerError(
                f"{graph.name} is not a graph that may come from elsewhere: a step takes {asked:.2g} {what}, "
                f"more than {most:.2g}"
            )


def _limit() -> None:
    """Bound this process where the system can."""
    with suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        # Of all cores together, should the waiting process be gone.
        seconds = int(PATIENCE * (os.cpu_count() or 1))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def main(folder: str) -> int:
    """Try it here and now, in a process that is for this alone; return its exit code."""
    _limit()
    from engine.session import open_decoder
    from engine.spec import load_tokenizer

    try:
        tokenizer = load_tokenizer(folder)
        check_work(tokenizer.graph("decoder"))
        open_decoder(tokenizer).warm((1,))
    except KinetokenError as error:
        print(error)
        return _REFUSED
    return 0
