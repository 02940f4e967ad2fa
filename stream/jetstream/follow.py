"""Follows a JetStream stream in its order, over the loss of servers: every message once, none twice."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from stream.jetstream.address import Start
from stream.jetstream.broker import AGAIN_S, Broker

BEAT_S = 1.0
"""Seconds between two signs of life of a server that has nothing to send."""

SILENCE_S = 3.5
"""Seconds without one after which it is asked anew, from where it stopped."""

FORGOTTEN_S = 30.0
"""Seconds after which servers forget a reader that is gone."""


async def follow(broker: Broker, name: str, subject: str, start: Start) -> AsyncGenerator[Any, None]:
    """Yield the messages of a JetStream stream under a subject, from `start` on, for ever.

    A server that falls silent, loses a message or is gone is asked again, or another one, after the last that came.
    """
    import nats.errors

    if start == "now":  # a number, so that whatever comes while we ask again is not missed
        start = await _newest(broker, name) + 1
    while True:
        await broker.up()
        try:
            async with aclosing(_ask(broker, name, subject, start)) as messages:
                async for message in messages:
                    start = message.metadata.sequence.stream + 1
                    yield message
        except (nats.errors.Error, OSError):
            pass
        await asyncio.sleep(AGAIN_S)


async def newest_of_each(broker: Broker, name: str, subject: str) -> list[Any]:
    """Return the newest message of every subject, without its payload. Raises the errors of nats-py."""
    from nats.errors import TimeoutError
    from nats.js.api import DeliverPolicy

    found: list[Any] = []
    if not (await broker.js.stream_info(name, subjects_filter=subject)).state.subjects:
        return found
    asked = _ask(broker, name, subject, "all", deliver_policy=DeliverPolicy.LAST_PER_SUBJECT, headers_only=True)
    async with aclosing(asked) as messages:
        async for message in messages:
            found.append(message)
            if not message.metadata.num_pending:
                return found
    raise TimeoutError


async def _newest(broker: Broker, name: str) -> int:
    import nats.errors

    while True:
        await broker.up()
        try:
            return int((await broker.js.stream_info(name)).state.last_seq)
        except nats.errors.Error:
            await asyncio.sleep(AGAIN_S)


async def _ask(broker: Broker, name: str, subject: str, start: Start, **changes: Any) -> AsyncGenerator[Any, None]:
    """Yield what one server sends, until it falls silent or a message is lacking."""
    import nats.errors
    from nats.js.api import AckPolicy, ConsumerConfig

    inbox = broker.client.new_inbox()
    coming = await broker.client.subscribe(inbox)
    try:
        config = ConsumerConfig(
            deliver_subject=inbox,
            filter_subject=subject,
            ack_policy=AckPolicy.NONE,
            flow_control=True,
            idle_heartbeat=BEAT_S,
            inactive_threshold=FORGOTTEN_S,
            mem_storage=True,
            num_replicas=1,
            **(starting(start) | changes),
        )
        await broker.js.add_consumer(name, config)
        expected = 1
        while True:
            message = await coming.next_msg(timeout=SILENCE_S)
            if message.headers and "Status" in message.headers:
                await _answer(broker, message)
                if int(message.headers.get("Nats-Last-Consumer", "0")) >= expected:
                    return  # what came before this sign of life is lacking
                continue
            if message.metadata.sequence.consumer != expected:
                return
            expected += 1
            yield message
    except nats.errors.TimeoutError:
        return
    finally:
        if not broker.client.is_closed:
            await coming.unsubscribe()


def starting(start: Start) -> dict[str, Any]:
    """Return where a consumer begins, as its configuration says it."""
    from nats.js.api import DeliverPolicy

    if isinstance(start, int):
        return {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": start}
    if start == "now":
        return {"deliver_policy": DeliverPolicy.NEW}
    if start == "all":
        return {"deliver_policy": DeliverPolicy.ALL}
    return {"deliver_policy": DeliverPolicy.BY_START_TIME, "opt_start_time": start}


async def _answer(broker: Broker, sign: Any) -> None:
    """Tell the server that we keep up, where it asks."""
    if whither := sign.reply or sign.headers.get("Nats-Consumer-Stalled"):
        await broker.client.publish(whither)
