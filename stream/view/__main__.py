"""`python -m stream.view`: bodies, tokens and numbers of a live stream or a log, on a page in the browser."""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once()

import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import ClassVar

from engine.command.cli import POSITIONAL, run
from engine.command.lifecycle import starting
from engine.command.messages import say
from stream.jetstream.address import check_reader, shown
from stream.view.hub import Hub
from stream.view.live import Live
from stream.view.messages import about_json
from stream.view.recorded import Recorded
from stream.view.server import PageServer
from stream.wire.packets import check_stream_name
from stream.wire.security import Security


@dataclass(frozen=True)
class Config:
    """Show motion tokens in the browser: decoded bodies, token grids and numbers of a live stream, or of a log."""

    EXITS: ClassVar = (5, 6, 7, 11, 12)

    log: str | None = field(default=None, metadata=POSITIONAL)
    """Token log to play instead of a live stream; it may still be written meanwhile."""
    connect: str = "tcp://127.0.0.1:5555"
    """Address of the producer, tcp://HOST:PORT or ipc://PATH; it need not run yet."""
    port: int | None = None
    """Port of the page; by default 8765 or, if that is taken, a free one. 0 takes a free one."""
    host: str = "127.0.0.1"
    """Address that the page is served on. Beyond this machine everybody who reaches it sees the page, unencrypted."""
    stream: str | None = None
    """Show only the stream of this name."""
    tokenizer: str | None = None
    """Decode with the tokenizer of this name or directory instead of the one that the packets name."""
    keys: str | None = None
    """Folder of this machine's keys (python -m stream.keys), needed where --connect is another machine."""
    server_key: str | None = None
    """The producer's public key: a .key file, its 40 characters or a listed name; by default the only one allowed."""
    insecure: bool = False
    """Read from another machine without keys: unencrypted, and from any peer that answers there."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if self.stream is not None:
            check_stream_name(self.stream)
        if self.port is not None and not 0 <= self.port <= 65535:
            raise ValueError(f"--port {self.port}: 0 to 65535")
        check_reader(self.connect, decode=True)
        _ = self.security

    @property
    def security(self) -> Security:
        """The keys to present. Raises ValueError for flags that do not go together."""
        return Security(self.keys, self.server_key, self.insecure)


EXAMPLES = """
  python -m stream.view                                   the producer on this machine
  python -m stream.view --connect tcp://studio:5555       another machine's, with keys
  python -m stream.view tokens.db                         a log, with a time slider
"""


def main(config: Config, stop: threading.Event) -> None:
    """Serve the page until stopped."""
    hub = Hub()
    with ExitStack() as resources:
        if config.log is not None:
            recorded = Recorded(config.log, config.tokenizer, config.stream)
            resources.callback(recorded.close)
            server = resources.enter_context(PageServer(config.host, config.port, recorded.about, hub, recorded))
            say(f"{config.log} -> {server.url}", "started", url=server.url)
            stop.wait()
            return
        with starting():
            live = Live(config.connect, config.stream, config.tokenizer, config.security, hub)
        resources.callback(live.close)
        about = about_json("live", shown(config.connect))
        server = resources.enter_context(PageServer(config.host, config.port, lambda: about, hub))
        say(f"{shown(config.connect)} -> {server.url}", "started", url=server.url)
        live.run(stop)


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m stream.view", examples=EXAMPLES))
