"""`python -m stream.steer`: changes how many ids a running producer takes for a hop."""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once()

import sys
import threading
import time
from dataclasses import dataclass
from typing import ClassVar

from engine.command.cli import run
from stream.client import TokenStream
from stream.codec.rate import Rate
from stream.errors import SourceError
from stream.subscribe.control_client import Asker, control_address
from stream.wire.packets import Status, check_stream_name
from stream.wire.requests import RateReply, Refusal, SetRate
from stream.wire.security import Security

PATIENCE = 5.0
"""Seconds in which a producer should give a sign of life."""


@dataclass(frozen=True)
class Config:
    """Change how many ids a running producer takes for a hop of a predictive tokenizer, for all of its readers.

    The producer must have been started with --steerable. Without --levels and --quality it takes all levels again.
    """

    EXITS: ClassVar = (3, 6, 13)

    connect: str = "tcp://127.0.0.1:5555"
    """Address of the producer, as its readers have it."""
    levels: int | None = None
    """Most ids of a hop."""
    quality: float | None = None
    """No more of them than bring the mean joint error down to this: px, or cm in 3D."""
    stream: str | None = None
    """Name of the stream, where there are several at the address."""
    keys: str | None = None
    """Folder of keys, as for the subscriber."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if self.stream is not None:
            check_stream_name(self.stream)
        _ = self.rate

    @property
    def rate(self) -> Rate:
        """What is asked for. Raises ValueError for numbers out of range."""
        return Rate(self.levels, self.quality)


EXAMPLES = """
  python -m stream.steer --levels 6
  python -m stream.steer --quality 2.5 --connect tcp://127.0.0.1:6000
  python -m stream.steer
"""


def main(config: Config, stop: threading.Event) -> None:
    """Ask, and say what holds now. Raises SourceError where nobody answers or the producer refuses."""
    security = Security(config.keys)
    stream, address = _find(config, security, stop)
    if stop.is_set():
        return
    with Asker(address, security) as asker:
        reply = asker.wait(SetRate(id=0, stream=stream, levels=config.levels, quality=config.quality))
    if isinstance(reply, Refusal):
        raise SourceError(f"the producer at {config.connect} refuses: {reply.text}")
    if not isinstance(reply, RateReply):
        raise SourceError(f"the producer at {config.connect} does not answer: look whether it still runs")
    print(f"stream {stream}: {Rate(reply.levels, reply.quality)}")


def _find(config: Config, security: Security, stop: threading.Event) -> tuple[str, str]:
    """Return the stream's name and its control socket, from the producer's sign of life."""
    deadline = time.monotonic() + PATIENCE
    with TokenStream(config.connect, stream=config.stream, repair=False, security=security) as reader:
        while time.monotonic() < deadline and not stop.is_set():
            heard = reader.poll(0.1)
            if heard is None or not isinstance(heard.message, Status):
                continue
            address = control_address(config.connect, heard.message.control)
            if address is None:
                raise SourceError(f"the control socket of {config.connect} cannot be reached from here")
            return heard.message.stream, address
    if stop.is_set():
        return "", ""
    raise SourceError(f"no producer at {config.connect} within {PATIENCE:g} s: look whether it runs, and its address")


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m stream.steer", examples=EXAMPLES))
