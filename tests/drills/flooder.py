"""Floods a socket over one link after the other until killed: `python -m tests.drills.flooder ADDRESS KIND`."""

import sys
import threading
from contextlib import suppress

from zmtp import PING, part, reach

LINKS = 4
"""Links at once."""

CHUNK_LIMIT = 4 * 2**20
"""Bytes after which a link is given up if nobody has cut it."""

FLOODS = {
    "subscriptions": ("SUB", b"".join(part(b"\1%d" % number) for number in range(5000))),
    "requests": ("DEALER", part(bytes(30)) * 5000),
    "endless messages": ("DEALER", part(b"", more=True) * 32768),
    "pings": ("SUB", PING * 5000),
    "links": ("SUB", b""),
}
"""What is sent, as which kind of socket; nothing: a link is made and left."""


def main() -> None:
    """Flood."""
    address, (kind, chunk) = sys.argv[1], FLOODS[sys.argv[2]]
    threads = [threading.Thread(target=_flood, args=(address, kind, chunk)) for _ in range(LINKS)]
    for thread in threads:
        thread.start()


def _flood(address: str, kind: str, chunk: bytes) -> None:
    while True:
        with suppress(OSError), reach(address, kind) as peer:
            peer.flood(chunk, CHUNK_LIMIT if chunk else 0)


if __name__ == "__main__":
    main()
