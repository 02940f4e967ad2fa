"""The errors a user can mend, each with the exit code that a command ends with."""


class KinetokenError(Exception):
    """A failure the user can mend: its text says in one line what is wrong and what to do."""

    exit_code = 1


class TokenizerError(KinetokenError):
    """A tokenizer is unknown, damaged or does not fit the request."""

    exit_code = 5


class EngineError(KinetokenError):
    """A compiled engine is missing, does not fit this machine, or cannot be built, run or trusted."""

    exit_code = 13


def in_a_line(error: BaseException) -> str:
    """Return what an error of a library says, in one line: the first that does not only say where in its code it is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from ", "Check '"))]
    return next(iter(telling or lines), type(error).__name__)
