"""Stores messages in JetStream: each once, in the order of its subject, and kept here until it is acknowledged."""

import asyncio
import logging
import threading
from collections import OrderedDict
from typing import NamedTuple

import msgspec

from engine.command.messages import say
from stream.jetstream.address import NatsAddress
from stream.jetstream.broker import AGAIN_S, Broker
from stream.jetstream.follow import newest_of_each
from stream.jetstream.storage import open_storage, refused
from stream.jetstream.subjects import AFTER, ID, identity, messages_of, packet_of, status_of, subject
from stream.subscribe.account import Key
from stream.wire.packets import Goodbye, Packet, Status, encode_control
from stream.wire.packets import encode as encode_packet

WINDOW = 1000
"""Messages that wait for their acknowledgement at most: some 300 KB."""

ACK_S = 3.0
"""Seconds that servers have to acknowledge; what they do not is sent again."""

SUBJECTS = 10_000
"""Subjects whose newest message is remembered; that of others is asked for."""

WRONG_PLACE = 10071
"""JetStream's error for a message that does not come after the one it is expected after."""


class Stored(NamedTuple):
    """The newest message of a subject: its JetStream sequence, 0 for none, and its id."""

    sequence: int = 0
    name: str = ""

    def has(self, name: str) -> bool:
        """Whether it is the message of this id, or a later one of the same run."""
        run, _, seq = name.rpartition(".")
        own, _, newest = self.name.rpartition(".")
        return run == own and int(seq) <= int(newest)


class JetStreamPublisher:
    """Stores packets and goodbyes. `take` and `room` are for one thread; the rest goes on in the broker's.

    Of one subject one message is under way at a time, sent after the JetStream sequence of the one before, and sent
    again until it is acknowledged. So none is stored twice and none before an earlier one, whatever servers forget.
    A goodbye goes after all packets of its stream, and before all that follow it.
    """

    def __init__(self, address: NatsAddress) -> None:
        self._broker = Broker(address, f"packets wait, up to {WINDOW} here and the others at the producer")
        self._name: str | None = None
        self._open_storage = asyncio.Event()
        self._newest: OrderedDict[str, Stored] = OrderedDict()  # by subject
        self._last: dict[str, asyncio.Task[None]] = {}  # what is under way, by subject
        self._changed = threading.Condition()
        self._pending = 0
        self._trouble = ""
        self.stored = 0
        """Messages acknowledged."""
        self._broker.start(self._open())

    def stored_of(self, stream: str | None, patience: float) -> dict[Key, int]:
        """Return the newest seq that is stored of each track of a stream, or of all.

        Waits up to `patience` seconds for servers; returns nothing where none is there. Raises RefusedError.
        """
        found = self._broker.start(self._stored_of(stream))
        try:
            return found.result(patience)
        except TimeoutError:
            found.cancel()
            self._broker.check()
            return {}

    def room(self, seconds: float) -> bool:
        """Wait up to `seconds` until there is room for a message; whether there is. Raises RefusedError."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending < WINDOW or self._broker.refused, seconds)
            self._broker.check()
            return self._pending < WINDOW

    def take(self, message: Packet | Goodbye | Status) -> None:
        """Store a message, a packet in the form that needs no other; a status is sent to whoever listens now."""
        if isinstance(message, Status):
            self._broker.start(self._tell(message))
            return
        with self._changed:
            self._pending += 1
        frame = encode_packet(message) if isinstance(message, Packet) else encode_control(message)
        self._broker.call(self._begin, message, frame)

    def close(self, patience: float) -> int:
        """Wait up to `patience` seconds for what is under way; return how many were not acknowledged. Idempotent."""
        with self._changed:
            self._changed.wait_for(lambda: not self._pending or self._broker.refused, patience)
            left, self._pending = self._pending, 0
        self._broker.close()
        return left

    async def _open(self) -> None:
        self._name = await open_storage(self._broker, make=True)
        self._open_storage.set()
        say(f"storing at {self._broker.address.shown}, JetStream stream {self._name}", "nats")

    async def _stored_of(self, stream: str | None) -> dict[Key, int]:
        import nats.errors

        while True:
            name = await open_storage(self._broker, make=True)
            try:
                newest = await newest_of_each(self._broker, name, messages_of(stream))
                break
            except (nats.errors.Error, OSError):
                await asyncio.sleep(AGAIN_S)
        for message in newest:
            self._note(message.subject, message.metadata.sequence.stream, (message.headers or {}).get(ID, ""))
        return dict(found for message in newest if (found := packet_of(message.headers)))

    def _begin(self, message: Packet | Goodbye, frame: bytes) -> None:
        place = subject(message)
        end = f"{place.rpartition('.')[0]}.goodbye"
        if isinstance(message, Goodbye):
            family = place.rpartition(".")[0] + "."
            before = [task for name, task in self._last.items() if name.startswith(family)]
        else:
            before = [task for name in (place, end) if (task := self._last.get(name))]
        task = asyncio.get_running_loop().create_task(self._store(place, identity(message), frame, before))
        self._last[place] = task
        task.add_done_callback(lambda done: self._last.pop(place) if self._last.get(place) is done else None)

    async def _store(self, place: str, name: str, frame: bytes, before: list["asyncio.Task[None]"]) -> None:
        import nats.errors
        from nats.js.errors import APIError, NoStreamResponseError

        if before:
            await asyncio.wait(before)
        await self._open_storage.wait()
        while not (newest := self._newest.get(place, Stored())).has(name):
            await self._broker.up()
            try:
                headers = {ID: name, AFTER: str(newest.sequence)}
                told = await self._broker.js.publish(place, frame, ACK_S, self._name, headers)
                self._note(place, told.seq, name)
                break
            except APIError as error:
                if error.err_code == WRONG_PLACE:
                    await self._look(place)
                    continue
                refused(self._broker, error)
                self._say_trouble(str(error.description))
            except NoStreamResponseError:
                self._say_trouble("no stream takes them now")
                self._name = await open_storage(self._broker, make=True)
            except (nats.errors.Error, OSError) as error:
                if self._broker.is_up:
                    self._say_trouble(str(error).removeprefix("nats: "))
            await asyncio.sleep(AGAIN_S)
        self._say_trouble("")
        with self._changed:
            self._pending -= 1
            self.stored += 1
            self._changed.notify()

    async def _look(self, place: str) -> None:
        """Look what is stored last under a subject."""
        import nats.errors
        from nats.js.errors import NotFoundError

        try:
            last = await self._broker.js.get_last_msg(self._name or "", place)
            self._note(place, last.seq or 0, (last.headers or {}).get(ID, ""))
        except NotFoundError:
            self._note(place, 0, "")
        except (nats.errors.Error, OSError):
            await asyncio.sleep(AGAIN_S)

    def _note(self, place: str, sequence: int, name: str) -> None:
        self._newest[place] = Stored(sequence, name)
        self._newest.move_to_end(place)
        if len(self._newest) > SUBJECTS:
            self._newest.popitem(last=False)

    async def _tell(self, status: Status) -> None:
        import nats.errors

        frame = encode_control(msgspec.structs.replace(status, control=""))  # where readers here cannot ask
        try:
            if self._broker.is_up:
                await self._broker.client.publish(status_of(status.stream), frame)
        except (nats.errors.Error, OSError):
            return  # the next one comes soon

    def _say_trouble(self, trouble: str) -> None:
        if trouble and not self._trouble:
            say(f"{self._broker.address.shown}: {trouble}: packets wait", "nats", logging.WARNING)
        elif self._trouble and not trouble:
            say(f"{self._broker.address.shown}: storing again", "nats")
        self._trouble = trouble
