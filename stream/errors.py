"""The live system's errors and the table of exit codes that every command prints in its help."""

from engine.errors import KinetokenError, TokenizerError

__all__ = [
    "EXIT_CODES",
    "KinetokenError",
    "LogError",
    "PoseModelError",
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


EXIT_CODES = """exit codes:
  0  finished, or stopped by Ctrl-C or SIGTERM
  1  unexpected failure (please report it)
  2  bad flag or configuration file
  3  source: no such camera or file, corrupt video, no Panoptic sequence
  4  pose model missing, damaged or not downloadable
  5  tokenizer unknown, damaged or unfit
  6  address malformed or port in use
  7  log cannot be opened or written
  8  nothing heard within the time-out"""
