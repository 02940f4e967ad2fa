"""What a reader says while there is nothing to read, and when it gives up."""

from engine.command.messages import say
from stream.client import TokenStream
from stream.jetstream.address import is_nats, shown
from stream.wire.security import Security

AFTER = 1.0
"""Seconds without a producer after which the reader says that it waits."""


class Waiting:
    """Says once that there is no producer yet or, where one stream is wanted and others are there, which ones.

    address: of the producer; name: of the stream that is wanted, None for any.
    """

    def __init__(self, address: str, name: str | None, security: Security) -> None:
        self._connect, self._address = address, shown(address)
        self._name, self._security = name, security
        self._all: TokenStream | None = None  # hears every stream; opened once it is needed
        self._told = False
        self._others: list[str] = []

    def tell(self, silence: float) -> None:
        """Say it, if it is time and was not said yet. silence: seconds so far. Call it as long as nothing is heard."""
        if silence < AFTER:
            return
        name, address = self._name, self._address
        if not self._told:
            self._told = True
            say(f"waiting for {f'stream {name!r} of a' if name else 'a'} producer at {address}", "reader")
            if name and not is_nats(self._connect):  # there one more reader may take packets from others
                self._all = TokenStream(self._connect, repair=False, security=self._security)
        if self._all and not self._others:
            self._all.poll(0)
            self._others = sorted({*self._all.streams} - {name})
            if self._others:
                say(f"no stream {name!r} at {address} yet; there are {', '.join(self._others)}", "reader")

    def over(self, timeout: float, heard: bool) -> str:
        """Return what to say when the reader gives up. heard: whether there was anything at all."""
        if heard:
            return f"nothing more from {self._address} for {timeout:g} s: the producer is gone or cut off"
        if self._others:
            there = ", ".join(self._others)
            return f"no stream {self._name!r} at {self._address}: there are {there}; name one with --stream"
        which = f" of stream {self._name!r}" if self._name else ""
        return (
            f"nothing{which} heard at {self._address} for {timeout:g} s: start a producer there, "
            "check --connect (and --keys, if the producer has keys), or wait longer with --timeout"
        )

    def close(self) -> None:
        """Close the second look at the address."""
        if self._all:
            self._all.close()
