"""The address of NATS servers and what goes with it: nats://[USER:PASSWORD@]HOST[:PORT][,HOST...][?option=value&...]."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

PORT = 4222

HOURS = 24.0
"""For how long a JetStream stream that we make keeps packets, unless the address says otherwise."""

MOST_REPLICAS = 5
"""More than these JetStream does not offer."""

SCHEMES = ("nats://", "tls://")

WRITERS = ("replicas", "hours")
READERS = ("from", "group")
BOTH = ("creds", "ca", "cert", "key")
OPTIONS: Mapping[str, tuple[str, ...]] = {"writer": BOTH + WRITERS, "reader": BOTH + READERS}
"""The options that an address may have, by who uses it."""

Start = Literal["now", "all"] | int | datetime


@dataclass(frozen=True, slots=True)
class NatsAddress:
    """Where brokers are, and what to present there.

    servers: nats://HOST:PORT or tls://HOST:PORT, one after the other until one answers; user, password: also a token,
    as user alone. creds: a credentials file; ca, cert, key: PEM files for TLS. replicas, hours: of a JetStream stream
    that has to be made. start: where a reader begins: now, at the first packet that is kept, at a sequence number of
    JetStream or at a time. group: the queue group that a reader shares packets with.
    """

    servers: tuple[str, ...]
    user: str | None = None
    password: str | None = None
    creds: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    replicas: int | None = None
    hours: float | None = None
    start: Start = "now"
    group: str | None = None

    @property
    def shown(self) -> str:
        """The address without what is secret."""
        return ",".join((self.servers[0], *(server.partition("://")[2] for server in self.servers[1:])))

    @property
    def encrypted(self) -> bool:
        """Whether TLS is asked for."""
        return self.servers[0].startswith("tls://") or any((self.ca, self.cert, self.key))


def is_nats(address: str) -> bool:
    """Whether an address is one of NATS servers, not of a producer."""
    return address.startswith(SCHEMES)


def shown(address: str) -> str:
    """Return an address of either kind without what is secret."""
    return parse_address(address, "reader").shown if is_nats(address) else address


def check_reader(address: str, decode: bool) -> None:
    """Raise ValueError for a NATS address that cannot be read from, or not decoded."""
    if is_nats(address) and parse_address(address, "reader").group and decode:
        raise ValueError(
            "joints need all packets of a person, and readers of a group share them: leave out group or --decode"
        )


def parse_address(text: str, role: Literal["writer", "reader"]) -> NatsAddress:
    """Return the address for one who writes or reads there. Raises ValueError, in which nothing secret stands."""
    scheme, _, rest = text.partition("://")
    if not is_nats(text):
        raise ValueError("a NATS address is nats://[USER:PASSWORD@]HOST[:PORT][,HOST...], or tls:// for TLS")
    place, _, query = rest.partition("?")
    login, _, hosts = place.rpartition("@")
    user, colon, password = login.partition(":")
    options = _options(query, role)
    return NatsAddress(
        servers=tuple(_server(scheme, host) for host in hosts.rstrip("/").split(",")),
        user=unquote(user) or None,
        password=unquote(password) if colon else None,
        replicas=_replicas(options.pop("replicas", None)),
        hours=_hours(options.pop("hours", None)),
        start=_start(options.pop("from", "now")),
        group=_group(options.pop("group", None)),
        **options,  # what is left are names of files
    )


def _options(query: str, role: str) -> dict[str, str]:
    given = parse_qsl(query, keep_blank_values=True)
    known = OPTIONS[role]
    for name, value in given:
        if name not in known:
            other = next((each for each, names in OPTIONS.items() if name in names), None)
            hint = f": that is for a {other}" if other else ""
            raise ValueError(f"NATS address: no option {name!r}{hint}; there are {', '.join(known)}")
        if not value:
            raise ValueError(f"NATS address: option {name} is empty")
    return dict(given)


def _server(scheme: str, host: str) -> str:
    try:
        url = urlsplit(f"{scheme}://{host}")
        port = PORT if url.port is None else url.port
    except ValueError:
        port = 0
    if not port or not url.hostname or url.path:
        raise ValueError(f"NATS address: {host!r} is not HOST or HOST:PORT")
    name = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return f"{scheme}://{name}:{port}"


def _replicas(text: str | None) -> int | None:
    if text is not None and not (text.isdecimal() and 1 <= int(text) <= MOST_REPLICAS):
        raise ValueError(f"NATS address: replicas={text}: 1 to {MOST_REPLICAS}")
    return None if text is None else int(text)


def _hours(text: str | None) -> float | None:
    try:
        hours = None if text is None else float(text)
    except ValueError:
        hours = math.nan
    if hours is not None and not 0 < hours < math.inf:
        raise ValueError(f"NATS address: hours={text}: hours above 0")
    return hours


def _start(text: str) -> Start:
    named: Mapping[str, Start] = {"now": "now", "all": "all"}
    if text in named:
        return named[text]
    if text.isdecimal() and int(text) > 0:
        return int(text)
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise ValueError(
            f"NATS address: from={text}: now, all, a sequence number of JetStream, or a time such as 2026-05-01T12:00"
        ) from None


def _group(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        raise ValueError(f"NATS address: group={text}: up to 64 letters, digits, - and _")
    return text
