"""The live system's errors, each with the exit code that a command ends with."""

from engine.errors import KinetokenError, OutputError, TokenizerError

__all__ = [
    "IncompleteLogError",
    "KinetokenError",
    "LogError",
    "OutputError",
    "PoseModelError",
    "RefusedError",
    "SecurityError",
    "SilenceError",
    "SourceError",
    "TokenizerError",
    "WireError",
]


class SourceError(KinetokenError):
    """A camera, video or recording cannot be opened or read."""

    exit_code = 3


class PoseModelError(KinetokenError):
    """The pose model is missing, damaged or could not be downloaded."""

    exit_code = 4


class WireError(KinetokenError):
    """A socket cannot be opened: the port is taken or the address is malformed."""

    exit_code = 6


class LogError(KinetokenError):
    """The token log cannot be opened or written."""

    exit_code = 7


class SilenceError(KinetokenError):
    """Nothing was heard for longer than the time-out."""

    exit_code = 8


class IncompleteLogError(KinetokenError):
    """The run went on to its end, but its log lacks packets or holds damaged ones."""

    exit_code = 9


class SecurityError(KinetokenError):
    """Keys are needed, missing, damaged or open to others, or what guards a socket has died."""

    exit_code = 11


class RefusedError(KinetokenError):
    """The producer does not let this reader in, or is not the one whose key the reader knows."""

    exit_code = 12
