"""The JetStream stream that keeps packets: found by its subjects, made where there is none, refused where unfit."""

import asyncio
import logging
from typing import Any

from engine.command.messages import say
from stream.jetstream.address import HOURS, NatsAddress
from stream.jetstream.broker import AGAIN_S, Broker
from stream.jetstream.subjects import STORED

NAME = "KINETOKEN"
"""Of the JetStream stream that we make; one that an administrator has made for our subjects may have any name."""

DUPLICATES_S = 120.0
"""Seconds for which servers remember ids. Later doubles are found by the sequence that a message is expected after."""

NOT_HERE = (10039, 10076)
"""JetStream's errors where it is switched off, for all or for the account."""

ONE_SERVER = 10074
"""JetStream's error where one server is asked for replicas."""

NOBODY = 6
"""Times in a row that nobody answers for JetStream, by which there is none: it starts with its server."""

PASSING_FROM = 500
"""JetStream's codes for what may pass: no leader, too few servers, no room."""


async def find_storage(broker: Broker) -> str | None:
    """Return the name of the JetStream stream that keeps packets, None where there is none.

    Raises the errors of nats-py. One that is not what is asked for ends in `broker.refuse`.
    """
    from nats.js.errors import NotFoundError

    try:
        name = await broker.js.find_stream_name_by_subject("tok.any.0")
    except NotFoundError:
        return None
    config = (await broker.js.stream_info(name)).config
    if why := _unfit(name, config, broker.address):
        broker.refuse(why)
        return None
    return name


def _unfit(name: str, config: Any, told: NatsAddress) -> str | None:
    """Return why a JetStream stream is not what is asked for."""
    from nats.js.api import RetentionPolicy

    if config.retention not in (None, RetentionPolicy.LIMITS):
        return (
            f"JetStream stream {name} lets go of packets once they are read (retention {config.retention}): make one "
            f"with retention limits for the subjects {STORED}, or remove it, and one is made"
        )
    if told.replicas not in (None, config.num_replicas):
        return (
            f"JetStream stream {name} has replicas={config.num_replicas}, not {told.replicas}: leave the option "
            f"out, or change the stream: nats stream edit {name} --replicas={told.replicas}"
        )
    hours = (config.max_age or 0.0) / 3600
    if told.hours is not None and abs(told.hours - hours) > 1e-6:
        kept = f"keeps packets for {hours:g} hours" if hours else "keeps packets without a limit of time"
        return (
            f"JetStream stream {name} {kept}, not for {told.hours:g} hours: leave the option out, or change the "
            f"stream: nats stream edit {name} --max-age={told.hours:g}h"
        )
    return None


async def open_storage(broker: Broker, make: bool) -> str:
    """Return the name of the JetStream stream that keeps packets, once there is one; `make` one where it lacks.

    What may pass is waited for, and said once; what will not ends in `broker.refuse`.
    """
    import nats.errors
    from nats.js.errors import APIError, ServiceUnavailableError

    told, nobody = False, 0
    while True:
        await broker.up()
        try:
            if name := await find_storage(broker):
                return name
            if make and not broker.refused:
                await broker.js.add_stream(config=_config(broker.address))
                continue
            trouble = "nobody has stored packets there yet"
        except APIError as error:
            trouble = str(error.description or "no JetStream answers")
            nobody = nobody + 1 if isinstance(error, ServiceUnavailableError) and error.err_code is None else 0
            refused(broker, error, nobody >= NOBODY)
        except (nats.errors.Error, OSError) as error:
            trouble = str(error).removeprefix("nats: ")
        if not told and not broker.refused:
            say(f"{broker.address.shown}: {trouble}: waiting", "nats", logging.WARNING)
            told = True
        await asyncio.sleep(AGAIN_S)


def refused(broker: Broker, error: Any, absent: bool = False) -> bool:
    """Whether an error of JetStream is one that waiting does not end; the broker notes it then.

    absent: nobody answers for JetStream.
    """
    if absent or error.err_code in NOT_HERE:
        broker.refuse(
            f"{broker.address.shown} has no JetStream: start nats-server with -js, or allow it for the account"
        )
    elif error.code is not None and (error.code < PASSING_FROM or error.err_code == ONE_SERVER):
        broker.refuse(f"JetStream at {broker.address.shown} refuses: {error.description}")
    return broker.refused is not None


def _config(address: NatsAddress) -> Any:
    from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

    hours = HOURS if address.hours is None else address.hours
    return StreamConfig(
        name=NAME,
        description="Packets of motion tokens",
        subjects=[STORED],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=hours * 3600,
        num_replicas=address.replicas or 1,
        duplicate_window=min(DUPLICATES_S, hours * 3600),
    )
