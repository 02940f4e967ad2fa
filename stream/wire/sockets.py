"""ZeroMQ sockets opened one way: options set before the address, and errors that say what to do."""

import errno
import os
import re
import socket as system
import stat
import time

import zmq

from stream.errors import SecurityError, WireError
from stream.wire.holder import advise
from stream.wire.hosts import is_ipv6_only
from stream.wire.inflow import LINKS, Allowance, Inflow
from stream.wire.security import OPEN, Guard, Security, present_key


class Socket(zmq.Socket[bytes]):
    """A socket. guard, where bound, and public_key, where connected: with keys; inflow: what bounds it, over tcp."""

    guard: Guard | None = None
    public_key: bytes = b""
    inflow: Inflow | None = None

    def take(self) -> list[bytes]:
        """Return the parts of the next message that has come, none if there is none."""
        try:
            parts = self.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            if self.inflow:
                self.inflow.found_empty()
            return []
        if self.inflow:
            sealed = 33 if self.public_key else 0  # CURVE's name, nonce, code and flags
            self.inflow.took(sum(_framed(len(part) + sealed) for part in parts))
        return parts


def _framed(size: int) -> int:
    """Return the bytes of a ZMTP frame that holds `size`."""
    return size + (2 if size < 256 else 9)


_KEEPALIVE = {
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 1,
    zmq.TCP_KEEPALIVE_INTVL: 1,
    zmq.TCP_KEEPALIVE_CNT: 3,
}
"""A link on which a silent peer does not answer for some 4 s is cut: it shows as loss, not as old news later."""

HANDSHAKE_MS = 5000
"""How long a stranger who connects and says nothing is borne."""

SMALL = 16 * 1024
"""Bytes from one peer that wait in the system: what is there when its link is cut still comes in."""

REBIND_S = 2.0
"""Seconds for which an address that was let go of may still be in use."""

_ADDRESS = re.compile(r"tcp://[^/\s]+:(?P<port>\*|\d{1,5})|ipc://[^\s]+|inproc://[^\s]+")


def open_socket(
    kind: int,
    address: str,
    options: dict[zmq.SocketOption, int],
    security: Security = OPEN,
    watch: int = 0,
    allowance: Allowance | None = None,
) -> Socket:
    """Return a socket that is bound (XPUB, ROUTER) or connected (SUB, DEALER) to `address`.

    Where `security` has keys for the address, a bound socket has a guard from before it can be reached: call `attend`
    while using it. watch: which events of a tcp link to tell in the `tidings` of the socket's inflow, from the very
    first one on. allowance: what each peer of a bound socket may send over tcp. Raises WireError, SecurityError.
    """
    binds = kind in (zmq.XPUB, zmq.ROUTER)
    _check_address(address, binds)
    keyring = security.keyring(address)
    # An inproc address exists within one context. Others get their own, so that closing waits for no other.
    context = zmq.Context.instance() if address.startswith("inproc://") else zmq.Context()
    socket = Socket(context, kind)
    socket.set(zmq.IPV6, int(_needs_ipv6(address)))
    socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    if not address.startswith("inproc://"):
        socket.set(zmq.RCVHWM, 0)  # the inflow is the bound
    if binds:
        socket.set(zmq.RCVBUF, SMALL)
    for option, value in (_KEEPALIVE | options).items():
        socket.set(option, value)
    try:
        if keyring and binds:
            socket.guard = Guard(socket, keyring)
        elif keyring:
            socket.public_key = present_key(socket, keyring, security.server_key)
        if address.startswith("tcp://"):
            socket.inflow = Inflow(socket.get_monitor_socket(watch | LINKS), allowance)
        _bind(socket, address) if binds else socket.connect(address)
    except zmq.ZMQError as error:
        close_socket(socket, linger_ms=0)
        raise WireError(_advice(address, error)) from error
    except SecurityError:
        close_socket(socket, linger_ms=0)
        raise
    return socket


def attend(socket: Socket) -> None:
    """Do what a bound socket's guard asks for; cheap. Call it from the socket's thread, once a second or more often.

    If a key was revoked, every link is cut: those still listed are back within moments, and ask again for what they
    missed; libzmq cannot cut one link alone. If the guard has died the socket is closed. Raises SecurityError then.
    """
    if socket.guard is None:
        return
    if not socket.guard.alive:
        close_socket(socket, linger_ms=0)
        raise SecurityError("the guard of the sockets has died, so they are closed: start again, and report it")
    if socket.guard.revoked():
        _rebind(socket)


def _bind(socket: Socket, address: str) -> None:
    if not address.startswith("ipc://"):
        socket.bind(address)
        return
    # The file is this user's alone from the first moment. (The mask is the process's: hence no tighter one.)
    mask = os.umask(0o077)
    try:
        socket.bind(address)
    finally:
        os.umask(mask)
    path = socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0").removeprefix("ipc://")
    if not path.startswith("@"):  # an abstract name is no file
        os.chmod(path, 0o600)


def _rebind(socket: Socket) -> None:
    """Cut all links, and drop what waits in them, by letting go of the address for a moment."""
    address = socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
    linger = socket.get(zmq.LINGER)
    socket.set(zmq.LINGER, 0)
    socket.unbind(address)
    socket.set(zmq.LINGER, linger)
    deadline = time.monotonic() + REBIND_S
    while True:
        try:
            return _bind(socket, address)
        except zmq.ZMQError as error:
            # libzmq lets go of it in another thread.
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise WireError(_advice(address, error)) from error
            time.sleep(0.001)


def close_socket(socket: Socket, linger_ms: int) -> None:
    """Close a socket; wait up to `linger_ms` for what it has sent to leave. Safe to call twice."""
    if socket.closed:
        return
    context = socket.context
    if socket.inflow:
        socket.disable_monitor()
        socket.inflow.join()
    socket.close(linger=linger_ms)
    if context is not zmq.Context.instance():
        context.term()


def _needs_ipv6(address: str) -> bool:
    host = address.removeprefix("tcp://").rpartition(":")[0]
    if not address.startswith("tcp://") or host == "*" or host in (name for _, name in system.if_nameindex()):
        return False  # libzmq takes the names of network cards too
    return is_ipv6_only(host.rpartition(";")[2])  # before the semicolon is the address to come from


def _check_address(address: str, binds: bool) -> None:
    match = _ADDRESS.fullmatch(address)
    valid = match is not None
    if match and (port := match["port"]):
        # A free port (* or 0) is for binding. libzmq itself would take port 99999 for 34463.
        valid = binds if port == "*" else (not binds) <= int(port) <= 65535
    if not valid:
        example = "tcp://127.0.0.1:5555"
        raise WireError(f"{address!r} is not a valid address: use tcp://HOST:PORT, such as {example}, or ipc://PATH")
    if binds and address.startswith("ipc://"):
        _check_path(address)


def _check_path(address: str) -> None:
    """Raise WireError where something is at an ipc path: libzmq takes it over, or deletes it, without a word."""
    path = address.removeprefix("ipc://")
    if path.startswith("@"):  # an abstract name is no file
        return
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise WireError(f"{path} already exists and is not a socket: choose another address")
    except OSError:
        return  # nothing there
    if _answers(path):
        raise WireError(_in_use(address))


def _answers(path: str) -> bool:
    with system.socket(system.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def _in_use(address: str) -> str:
    if address.startswith("tcp://"):
        return advise(address)
    return f"{address} is in use: stop what holds it or choose another address"


def _advice(address: str, error: zmq.ZMQError) -> str:
    if error.errno == errno.EADDRINUSE:
        return _in_use(address)
    if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
        return f"{address}: this machine has no such address: use 127.0.0.1, 0.0.0.0 or one of its own"
    if error.errno == errno.EACCES:
        return f"{address}: not allowed: use a port from 1024 on or a folder you may write to"
    return f"cannot open {address}: {error.strerror or error}: check the address"
