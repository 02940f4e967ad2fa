"""What messages are called in JetStream: subjects, and ids by which nothing is stored twice.

tok.<stream>.<track>    a packet; its id is <stream>.<track>.<epoch>.<seq>
tok.<stream>.goodbye    a goodbye; <stream>.goodbye.<epoch>.0
status.<stream>         a status, which is not stored

In a subject, and in an id, the dots of a stream's name stand as %2E.
"""

from collections.abc import Mapping

from stream.subscribe.account import Key
from stream.wire.packets import Goodbye, Packet

ID, AFTER = "Nats-Msg-Id", "Nats-Expected-Last-Subject-Sequence"
"""Headers: what a message is, and the JetStream sequence of the one before it on its subject."""

STORED = "tok.>"
"""The subjects of a JetStream stream that holds everything."""


def messages_of(stream: str | None) -> str:
    """Return the subject of all that is stored of a stream, or of all streams."""
    return f"tok.{_token(stream) if stream else '*'}.*"


def status_of(stream: str | None) -> str:
    """Return the subject of a stream's status messages, or of all."""
    return f"status.{_token(stream) if stream else '*'}"


def subject(message: Packet | Goodbye) -> str:
    """Return the subject that a message is stored under."""
    return f"tok.{_token(message.stream)}.{_part(message)}"


def identity(message: Packet | Goodbye) -> str:
    """Return the id of a message, the same whoever publishes it and however often."""
    seq = message.seq if isinstance(message, Packet) else 0
    return f"{_token(message.stream)}.{_part(message)}.{message.epoch.hex()}.{seq}"


def packet_of(headers: Mapping[str, str] | None) -> tuple[Key, int] | None:
    """Return stream, track and epoch, and the seq, of the packet with these headers; None for what is no packet."""
    try:
        name, track, epoch, seq = (headers or {}).get(ID, "").split(".")
        return (name.replace("%2E", "."), int(track), bytes.fromhex(epoch)), int(seq)
    except ValueError:
        return None


def _part(message: Packet | Goodbye) -> str:
    return str(message.track) if isinstance(message, Packet) else "goodbye"


def _token(stream: str) -> str:
    """Return the name of a stream as one token of a subject, which a dot would end."""
    return stream.replace(".", "%2E")
