"""Who holds an address that is in use, as far as it says so when asked, and which one is free instead."""

import socket
import time
from contextlib import suppress

import zmq

from stream.wire.hosts import from_here
from stream.wire.packets import PacketError
from stream.wire.requests import MAX_REPLY, Info, InfoReply, decode_reply, encode_request

ANSWER_S = 0.5
"""Seconds for which an answer is awaited: a producer answers within milliseconds."""

TRIED = 100
"""Pairs of ports that are tried for one that is free."""


def advise(address: str) -> str:
    """Return who holds a tcp address, HOST:PORT behind `tcp://`, and what to do."""
    host, _, number = address.rpartition(":")
    port = int(number)
    free = next((each for each in range(port + 2, min(port + 2 * TRIED, 65535), 2) if _is_free(each)), None)
    other = f"take {host}:{free}, which is free" if free else "choose another address"
    streams = _producers(host, (port, port + 1))
    if named := streams.get(port):
        return f"{address} is the control socket of a producer ({named}): {other}"
    if named := streams.get(port + 1):
        return f"{address} is in use by a producer ({named}): {other}"
    return f"{address} is in use, by what does not answer as a producer without keys does: {other}"


def _is_free(port: int) -> bool:
    """Whether a port and the one after it, for the control socket, can be bound now."""
    try:
        for each in (port, port + 1):
            with socket.socket(socket.AF_INET) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("", each))
    except OSError:
        return False
    return True


def _producers(host: str, ports: tuple[int, ...]) -> dict[int, str]:
    """Ask ports of a host of ours at once whether they are control sockets; return the streams of those that are."""
    found: dict[int, str] = {}
    context, poller, asked = zmq.Context(), zmq.Poller(), {}
    try:
        for port in ports:
            with suppress(zmq.ZMQError):  # such as port 65536
                asked[_ask(context, from_here(f"{host.replace('*', '0.0.0.0')}:{port}"))] = port
        for asker in asked:
            poller.register(asker, zmq.POLLIN)
        deadline = time.monotonic() + ANSWER_S
        while len(found) < len(asked) and (left := deadline - time.monotonic()) > 0:
            for asker, _ in poller.poll(int(left * 1000) + 1):
                poller.unregister(asker)
                with suppress(PacketError, zmq.ZMQError):
                    reply = decode_reply(asker.recv(zmq.NOBLOCK))
                    if isinstance(reply, InfoReply):
                        found[asked[asker]] = _named(reply)
    finally:
        context.destroy(linger=0)
    return found


def _ask(context: zmq.Context[zmq.Socket[bytes]], address: str) -> zmq.Socket[bytes]:
    asker = context.socket(zmq.DEALER)
    asker.set(zmq.MAXMSGSIZE, MAX_REPLY)
    asker.set(zmq.LINGER, 0)
    asker.set(zmq.IPV6, int("[" in address))
    asker.connect(address)
    asker.send(encode_request(Info(id=1)))
    return asker


def _named(reply: InfoReply) -> str:
    names = ", ".join(repr(each.stream) for each in reply.streams)
    return f"stream {names}" if names else "without a stream yet"
