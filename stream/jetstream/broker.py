"""A connection to NATS servers that lasts: in a thread of its own, back by itself, its troubles said once."""

import asyncio
import concurrent.futures
import logging
import os
import ssl
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from engine.command.messages import say
from stream.errors import RefusedError
from stream.jetstream.address import NatsAddress

T = TypeVar("T")

CONNECT_S = 2.0
"""Seconds that one server has to answer, before the next one is tried."""

AGAIN_S = 0.5
"""Seconds between two attempts at one server."""

PING_S = 5.0
"""Seconds between two signs of life: a link on which two were missed is taken for dead."""

CLOSE_S = 2.0
"""Seconds that closing waits for the connection to end."""


class Broker:
    """Keeps a connection in a thread of its own; coroutines run there. Raises ModuleNotFoundError without nats-py.

    while_away: what to tell users that happens while no server answers. The connection is made in the background, so
    servers may be away, also at first.
    """

    def __init__(self, address: NatsAddress, while_away: str) -> None:
        from nats.aio.client import Client
        from nats.js import JetStreamContext

        self.address = address
        self.refused: str | None = None
        """Why the servers do not let us in; None while they do, or are away."""
        self.reconnects = 0
        self._while_away = while_away
        self._away = False
        self._failure: BaseException | None = None
        if address.creds and not os.access(address.creds, os.R_OK):
            raise RefusedError(f"{address.creds} cannot be read: check the file of the option creds")
        self._tls = self._context() if address.encrypted else None
        self.client = Client()
        self.js: JetStreamContext = self.client.jetstream(timeout=CONNECT_S)
        self._up = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats", daemon=True)
        self._thread.start()
        self._connecting = self.start(self._connect())

    def start(self, work: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Run a coroutine in the connection's thread. What it raises, `check` raises too."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, work: "concurrent.futures.Future[Any]") -> None:
        if not work.cancelled() and (error := work.exception()):
            self._failure = error

    def call(self, function: Any, *values: Any) -> None:
        """Have a function called soon, in the connection's thread."""
        self._loop.call_soon_threadsafe(function, *values)

    def refuse(self, why: str) -> None:
        """Note that it is in vain to wait, and why: `check` raises it."""
        self.refused = why

    def check(self) -> None:
        """Raise RefusedError where the servers do not let us in, or what is there is of no use."""
        if self.refused:
            raise RefusedError(self.refused)
        if self._failure:
            raise self._failure

    @property
    def is_up(self) -> bool:
        """Whether there is a connection now."""
        return self._up.is_set()

    async def up(self) -> None:
        """Wait until there is a connection."""
        await self._up.wait()

    def close(self) -> None:
        """End the connection and its thread. Safe to call twice."""
        if self._loop.is_closed():
            return
        with suppress(TimeoutError):
            self.start(self._end()).result(CLOSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            self._loop.close()

    async def _connect(self) -> None:
        where = self.address
        login = {"token": where.user} if where.password is None else {"user": where.user, "password": where.password}
        times: dict[str, Any] = {
            "connect_timeout": CONNECT_S,
            "reconnect_time_wait": AGAIN_S,
            "ping_interval": PING_S,
            "max_reconnect_attempts": -1,
        }
        keys: dict[str, Any] = {"tls": self._tls, "user_credentials": where.creds, **login}
        try:
            await self.client.connect(
                list(where.servers),
                name="kinetoken",
                error_cb=self._on_error,
                disconnected_cb=self._on_lost,
                reconnected_cb=self._on_there,
                **times,
                **keys,
            )
        except Exception as error:
            if not (why := _refusal(error)):
                raise
            self._refuse_login(why)
        else:
            await self._on_there()

    async def _end(self) -> None:
        self._connecting.cancel()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=CLOSE_S / 2)
        await self.client.close()

    async def _on_there(self) -> None:
        self.reconnects += self._up.is_set() or self._away
        self.refused = None
        self._away = False
        self._up.set()

    async def _on_lost(self) -> None:
        self._up.clear()

    async def _on_error(self, error: Exception) -> None:
        if "permissions violation" in str(error).lower():
            self.refuse(f"{self.address.shown} does not allow it ({error}): give the account these permissions")
        if self._up.is_set():
            return  # such as a consumer that has to be made again; whoever asked hears of it
        if (why := _refusal(error)) and not self.refused:
            self._refuse_login(why)
        elif not self._away and not why:
            say(f"{self.address.shown} is not there: {self._while_away}", "nats", logging.WARNING)
            self._away = True

    def _refuse_login(self, why: str) -> None:
        self.refuse(f"{self.address.shown} does not let us in ({why}): {_ADVICE[why]}")

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.address.ca)
            if self.address.cert:
                context.load_cert_chain(self.address.cert, self.address.key)
        except OSError as error:
            raise RefusedError(
                f"TLS for {self.address.shown}: {error.strerror or error}: check ca, cert and key"
            ) from None
        return context


_ADVICE = {
    "wrong user, password, token or credentials": "check them in the address, and that the account may use JetStream",
    "TLS": "check tls:// and the option ca, or give cert and key if it asks for them",
    "credentials file": "check the file of the option creds",
}


def _refusal(error: Exception) -> str | None:
    """Return why servers do not let us in, None for what may pass by itself."""
    import nats.errors

    told = str(error).lower()
    if "authorization" in told or "authentication" in told or isinstance(error, nats.errors.AuthorizationError):
        return "wrong user, password, token or credentials"
    if isinstance(error, ssl.SSLError | nats.errors.SecureConnRequiredError | nats.errors.SecureConnWantedError):
        return "TLS"
    if isinstance(error, FileNotFoundError | PermissionError | nats.errors.InvalidUserCredentialsError):
        return "credentials file"
    return None
