"""The live system's errors and the table of exit codes that every command prints in its help."""

from engine.errors import KinetokenError, TokenizerError

__all__ = [
    "EXIT_CODES",
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


class OutputError(KinetokenError):
    """What the command writes, to standard output or a file, cannot be written."""

    exit_code = 10


class SecurityError(KinetokenError):
    """Keys are needed, missing, damaged or open to others, or what guards a socket has died."""

    exit_code = 11


class RefusedError(KinetokenError):
    """The producer does not let this reader in, or is not the one whose key the reader knows."""

    exit_code = 12


EXIT_CODES = """exit codes:
  0  finished, or stopped by Ctrl-C or SIGTERM
  1  unexpected failure (please report it)
  2  bad flag or configuration file
  3  source: no such camera or file, corrupt video, no Panoptic sequence
  4  pose model missing, damaged or not downloadable
  5  tokenizer unknown, damaged or unfit
  6  address malformed or port in use
  7  log cannot be opened or written
  8  nothing heard within the time-out
  9  finished, but the log lacks packets or holds damaged ones
  10 output cannot be written
  11 keys needed, missing, damaged or open to others; or the sockets' guard died
  12 refused by the producer, or not the producer whose key is known
  13 engine missing, unfit for this machine, not buildable or not exact"""
