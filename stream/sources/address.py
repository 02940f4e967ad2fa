"""Addresses of video: what is one, how it is shown, how long it is waited for."""

import os
import re

from engine.command.messages import plain_name

FILE = "file://"

OPEN_TIMEOUT = 10.0
"""Seconds that opening a camera or an address may take, first frame included."""

READ_TIMEOUT = 5.0
"""Seconds without a frame after which a live source counts as lost."""


def is_address(ref: str) -> bool:
    """Whether `ref` is an address such as rtsp://..., not a file's path or file:// address."""
    return not ref.startswith(FILE) and re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", ref) is not None


def may_end(address: str) -> bool:
    """Whether what an address gives may be a film, which ends: files and playlists lie on web servers."""
    return address.lower().startswith(("http://", "https://"))


def redact(address: str) -> str:
    """Return an address with user, password and all values of its query replaced by ***."""
    # Up to the last @: a password may hold @, / and ? that nobody escaped.
    address = re.sub(r"://.*@", "://***@", address, flags=re.DOTALL)
    head, mark, query = address.partition("?")
    # Some cameras take their password in the path: /user=admin&password=...
    head = re.sub(r"(?<==)[^/&]+", "***", head)
    return head + mark + re.sub(r"(?<==)[^&#]*", "***", query)


def shown(ref: str) -> str:
    """Return a path or address without secrets and in letters that every terminal takes."""
    return plain_name(os.fsencode(redact(ref) if is_address(ref) else ref).decode(errors="replace"))
