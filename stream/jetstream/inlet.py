"""What a `TokenStream` reads from JetStream: frames, in order or shared with others."""

import asyncio
import threading
from collections import deque
from collections.abc import Iterable
from typing import Any

import zmq

from stream.jetstream.address import NatsAddress
from stream.jetstream.broker import AGAIN_S, Broker
from stream.jetstream.follow import follow, starting
from stream.jetstream.storage import open_storage, refused
from stream.jetstream.subjects import messages_of, status_of

QUEUED = 2000
"""Messages that wait for a slow reader; the others wait at the servers."""

BATCH = 16
"""Messages that one of a group takes at once: what a reader that dies holds up."""

ACK_WAIT_S = 30.0
"""Seconds after which a message that one of a group took and did not finish is given to another."""

ASK_S = 2.0
"""Seconds for which one of a group waits for messages before it asks again."""

POLL_S = 0.02
"""Seconds between two looks at whether a slow reader has made room."""


class JetStreamInlet:
    """Takes what is stored of a stream, or of all, from the start that the address names. For use from one thread.

    A reader of a group acknowledges a message when it comes back for the next one. Raises RefusedError.
    """

    silent = False
    away = False

    def __init__(self, address: NatsAddress, stream: str | None) -> None:
        self._address, self._stream = address, stream
        self._broker = Broker(address, "waiting for it")
        self._coming: deque[Any] = deque()
        self._news = threading.Condition()
        self._taken: Any = None

    @property
    def shares(self) -> bool:
        """Whether others of a group take some of the packets."""
        return self._address.group is not None

    @property
    def reconnects(self) -> int:
        """How often a lost connection was made anew."""
        return self._broker.reconnects

    def subscribe(self, topic: bytes) -> None:
        """Begin to read: packets, or with a control topic signs of life."""
        if topic.startswith(b"ctl/"):
            self._broker.start(self._listen())
        else:
            self._broker.start(self._share() if self.shares else self._follow())

    def take(self) -> list[bytes]:
        """Return the next frame, as the parts of a message; none where none is there."""
        self._finish()
        self._broker.check()
        if not self._coming:
            return []
        message = self._coming.popleft()
        if self.shares and message.reply:
            self._taken = message
        return [message.data]

    def wait(self, seconds: float, others: Iterable[zmq.Socket[bytes]]) -> None:
        """Wait up to `seconds` for something to take."""
        with self._news:
            self._news.wait_for(lambda: self._coming or self._broker.refused, seconds)

    def on_message(self, interval: float | None) -> bool:
        """Tell whether a message ends a silence: servers send again what was missed."""
        return False

    def mend(self) -> None:
        """Do nothing: the connection mends itself."""

    def reopen(self) -> None:
        """Do nothing: what a slow reader has not taken waits at the servers."""

    def close(self) -> None:
        """End the connection. Idempotent."""
        self._broker.close()

    def _finish(self) -> None:
        if self._taken is not None:
            self._broker.start(self._acknowledge(self._taken))
            self._taken = None

    async def _acknowledge(self, message: Any) -> None:
        import nats.errors

        try:
            await message.ack()
        except (nats.errors.Error, OSError):
            return  # it comes again, to one of the group

    async def _listen(self) -> None:
        await self._broker.up()
        signs = await self._broker.client.subscribe(status_of(self._stream))
        async for message in signs.messages:
            self._put(message)

    async def _follow(self) -> None:
        name = await open_storage(self._broker, make=False)
        subject = messages_of(self._stream)
        async for message in follow(self._broker, name, subject, self._address.start):
            while len(self._coming) >= QUEUED:
                await asyncio.sleep(POLL_S)
            self._put(message)

    async def _share(self) -> None:
        import nats.errors
        from nats.js.api import ConsumerConfig
        from nats.js.errors import APIError

        name = await open_storage(self._broker, make=False)
        subject = messages_of(self._stream)
        config = ConsumerConfig(ack_wait=ACK_WAIT_S, **starting(self._address.start))
        taking = None
        while True:
            await self._broker.up()
            try:
                if taking is None:
                    taking = await self._broker.js.pull_subscribe(subject, self._address.group, name, config)
                if len(self._coming) >= BATCH:
                    await asyncio.sleep(POLL_S)
                    continue
                for message in await taking.fetch(BATCH, timeout=ASK_S):
                    self._put(message)
            except nats.errors.TimeoutError:
                continue
            except APIError as error:
                refused(self._broker, error)
                taking = None
                await asyncio.sleep(AGAIN_S)
            except (nats.errors.Error, OSError):
                taking = None
                await asyncio.sleep(AGAIN_S)

    def _put(self, message: Any) -> None:
        with self._news:
            self._coming.append(message)
            self._news.notify()
