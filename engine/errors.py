"""The errors a user can mend, each with the exit code that a command ends with, and the table of all codes."""


class KinetokenError(Exception):
    """A failure the user can mend: its text says in one line what is wrong and what to do."""

    exit_code = 1


class UsageError(KinetokenError):
    """A flag, a configuration or the data it names cannot be used."""

    exit_code = 2


class TokenizerError(KinetokenError):
    """A tokenizer is unknown, damaged or does not fit the request."""

    exit_code = 5


class OutputError(KinetokenError):
    """What the command writes, to standard output or a file, cannot be written."""

    exit_code = 10


class EngineError(KinetokenError):
    """A compiled engine is missing, does not fit this machine, or cannot be built, run or trusted."""

    exit_code = 13


class MissingPackageError(KinetokenError):
    """A package of an extra is not installed."""

    exit_code = 14


class StoppedError(KinetokenError):
    """A signal cut the work short; the code is that of a shell."""

    exit_code = 130


USAGE_ERROR, STOPPED = UsageError.exit_code, StoppedError.exit_code

EXIT_CODES = {
    0: "finished; a live command also when Ctrl-C, SIGTERM or a closed terminal stopped it",
    1: "unexpected failure (please report it)",
    USAGE_ERROR: "bad flag or configuration file, or data that cannot be used",
    3: "source: no such camera or file, corrupt video, not a Panoptic sequence",
    4: "pose model missing, damaged or not downloadable",
    5: "tokenizer unknown, damaged or unfit",
    6: "address malformed or port in use",
    7: "log cannot be opened or written",
    8: "nothing heard within the time-out",
    9: "finished, but the log lacks packets or holds damaged ones",
    10: "output cannot be written",
    11: "keys needed, missing, damaged or open to others; or the authentication thread stopped",
    12: "refused by the producer, or not the producer whose key is known",
    13: "engine missing, unfit for this machine, not buildable or not exact",
    14: "a package is missing: the message names the extra that brings it",
    STOPPED: "stopped before the work was done",
}
"""What every exit code means. Each command lists those that it has; docs/exit-codes.md lists all."""


def in_a_line(error: BaseException) -> str:
    """Return what an error of a library says, in one line: the first that does not only say where in its code it is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from ", "Check '"))]
    return next(iter(telling or lines), type(error).__name__)
