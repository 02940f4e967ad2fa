"""What a command says on standard error, as lines for people or as JSON objects for machines."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import msgspec

LogFormat = Literal["text", "json"]

_log = logging.getLogger(__name__)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at the moment: a status line on a terminal redirects it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Where lines go."""
        return sys.stderr


def plain(text: str) -> str:
    """Return a text for a terminal, in which nothing that came from a file or a peer moves the cursor or turns the
    direction of writing. Lines stay: whoever puts a name into a message takes those of the name out (`plain_name`)."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)


def plain_name(name: str) -> str:
    """Return a name of somebody else's making as it may stand in a message."""
    return plain(name).replace("\n", "?")


class _Text(logging.Formatter):
    """The message alone."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return it; what is said of an exception comes after it."""
        return plain(record.message)


class _Json(logging.Formatter):
    """One object a line: time (UTC), level, event, message and the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def set_up(log_format: LogFormat) -> None:
    """Send what is logged to standard error: our own from INFO on, others' from WARNING on."""
    handler = _Stderr()
    handler.setFormatter(_Json() if log_format == "json" else _Text())
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, _Stderr):
            root.removeHandler(old)
    root.addHandler(handler)
    for name in ("stream", "engine", "training"):
        logging.getLogger(name).setLevel(logging.INFO)


def say(message: str, event: str, level: int = logging.INFO, **fields: Any) -> None:
    """Say a line; as JSON it has the event's name and fields too."""
    _log.log(level, message, extra={"event": event, "fields": fields})
