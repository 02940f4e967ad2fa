"""ZeroMQ sockets opened one way: options set before the address, and errors that say what to do."""

import errno
import re
import socket as system

import zmq

from stream.errors import WireError

Socket = zmq.Socket[bytes]

_KEEPALIVE = {
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 1,
    zmq.TCP_KEEPALIVE_INTVL: 1,
    zmq.TCP_KEEPALIVE_CNT: 3,
}
"""A link on which a silent peer does not answer for some 4 s is cut: it shows as loss, not as old news later."""

_ADDRESS = re.compile(r"tcp://[^/\s]+:(?P<port>\*|\d{1,5})|ipc://[^\s]+|inproc://[^\s]+")


def open_socket(kind: int, address: str, options: dict[zmq.SocketOption, int]) -> Socket:
    """Return a socket that is bound (XPUB) or connected (SUB) to `address`. Raises WireError."""
    binds = kind == zmq.XPUB
    _check_address(address, binds)
    # An inproc address exists within one context. Others get their own, so that closing waits for no other.
    context = zmq.Context.instance() if address.startswith("inproc://") else zmq.Context()
    socket = context.socket(kind)
    socket.set(zmq.IPV6, int("[" in address))
    for option, value in (_KEEPALIVE | options).items():
        socket.set(option, value)
    try:
        (socket.bind if binds else socket.connect)(address)
    except zmq.ZMQError as error:
        close_socket(socket, linger_ms=0)
        raise WireError(_advice(address, error)) from error
    return socket


def close_socket(socket: Socket, linger_ms: int) -> None:
    """Close a socket; wait up to `linger_ms` for what it has sent to leave. Safe to call twice."""
    if socket.closed:
        return
    context = socket.context
    socket.close(linger=linger_ms)
    if context is not zmq.Context.instance():
        context.term()


def _check_address(address: str, binds: bool) -> None:
    match = _ADDRESS.fullmatch(address)
    valid = match is not None
    if match and (port := match["port"]):
        # A free port (* or 0) is for binding. libzmq itself would take port 99999 for 34463.
        valid = binds if port == "*" else (not binds) <= int(port) <= 65535
    if not valid:
        example = "tcp://127.0.0.1:5555"
        raise WireError(f"{address!r} is no address: write tcp://HOST:PORT, such as {example}, or ipc://PATH")
    # libzmq takes an ipc path over from a running process without a word.
    if binds and address.startswith("ipc://") and _answers(address.removeprefix("ipc://")):
        raise WireError(_in_use(address))


def _answers(path: str) -> bool:
    with system.socket(system.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def _in_use(address: str) -> str:
    return f"{address} is in use: stop what holds it or choose another address"


def _advice(address: str, error: zmq.ZMQError) -> str:
    if error.errno == errno.EADDRINUSE:
        return _in_use(address)
    if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
        return f"{address}: this machine has no such address: use 127.0.0.1, 0.0.0.0 or one of its own"
    if error.errno == errno.EACCES:
        return f"{address}: not allowed: use a port from 1024 on or a folder you may write to"
    return f"cannot open {address}: {error.strerror or error}: check the address"
