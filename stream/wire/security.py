"""Who may read: CURVE on every socket that is not of this machine alone, and a guard that knows the listed keys."""

import ipaddress
import re
import threading
import time
from dataclasses import dataclass

import zmq
from zmq.utils import z85

from stream.errors import SecurityError
from stream.wire.keyring import Keyring

DOMAIN = b"kinetoken"

LOOK_S = 1.0
"""Seconds between two looks at the folder of keys: how soon a revoked key is cut off."""

_ZAP = "inproc://zeromq.zap.01"
_HOST = re.compile(r"tcp://\[?(?P<host>.+?)\]?:[^:]+")


@dataclass(frozen=True)
class Security:
    """How a socket is kept closed to strangers; what --keys, --server-key and --insecure say.

    keys: the folder of this machine's keys (see `stream.wire.keyring`). Given, every address is secured by them; None
    leaves loopback addresses open and takes the default folder for all others. server_key: to readers, the
    producer's public key: a file, its 40 characters or the name of an allowed one; None for the only one allowed.
    insecure: no keys, whatever the address.
    """

    keys: str | None = None
    server_key: str | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for settings that do not go together."""
        if self.insecure and (self.keys is not None or self.server_key is not None):
            raise ValueError("--insecure is for going without --keys and --server-key: give either")

    def keyring(self, address: str) -> Keyring | None:
        """Return the keys that secure an address; None where it needs none. Raises SecurityError."""
        if self.insecure or address.startswith("inproc://"):
            return None
        keyring = Keyring(self.keys)
        if self.keys is None and self.server_key is None:
            if is_local(address):
                return None
            if not keyring.exists:
                raise SecurityError(
                    f"{address} goes beyond this machine: make keys (see python -m stream.keys --help), or go without "
                    "them, unencrypted and open to anybody, with --insecure"
                )
        if not zmq.has("curve"):
            raise SecurityError("this libzmq was built without CURVE: install pyzmq's own wheel, pip install pyzmq")
        return keyring

    def told(self, address: str) -> str:
        """Return in a few words who may read at an address."""
        if keyring := self.keyring(address):
            return f"for the {len(keyring.readers())} keys listed in {keyring.folder} alone"
        return "for this machine alone" if is_local(address) else "for anybody"


OPEN = Security()
"""No keys for this machine's own addresses, the default folder for others."""


def is_local(address: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if not (match := _HOST.fullmatch(address)):
        return True  # ipc, inproc
    host = match["host"]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def present_key(socket: zmq.Socket[bytes], keyring: Keyring, server_key: str | None) -> bytes:
    """Make a reader's socket speak CURVE to the one producer that has `server_key`; return the reader's public key."""
    identity, server = keyring.identity(), keyring.server_key(server_key)
    socket.set(zmq.CURVE_SERVERKEY, server)
    socket.set(zmq.CURVE_PUBLICKEY, identity.public)
    socket.set(zmq.CURVE_SECRETKEY, identity.secret)
    return identity.public


class Guard:
    """Lets only listed keys into a socket that is about to bind: ZAP, RFC 27 of ZeroMQ.

    It answers, in a thread of its own, for all sockets of `socket`'s context, which must be its alone, and ends with
    that context. Keys allowed or revoked in the folder count from the next handshake on. Once the thread is dead,
    libzmq refuses every handshake: the domain is enforced. Raises SecurityError for a keyring that is not in order.
    """

    def __init__(self, socket: zmq.Socket[bytes], keyring: Keyring) -> None:
        identity = keyring.identity()
        keyring.allowed()  # a damaged file is told at the start
        self._keyring = keyring
        self._stamp, self._readers = keyring.stamp(), keyring.readers()
        self._let_in: set[bytes] = set()
        self._lock = threading.Lock()
        self._look_due = time.monotonic() + LOOK_S
        zap = socket.context.socket(zmq.REP, socket_class=zmq.Socket)
        zap.set(zmq.LINGER, 0)
        zap.bind(_ZAP)
        # Not pyzmq's ThreadAuthenticator: stopping one whose thread has died would wait for ever.
        self._thread = threading.Thread(target=self._answer, args=(zap,), name="guard", daemon=True)
        self._thread.start()
        socket.set(zmq.CURVE_SERVER, 1)
        socket.set(zmq.CURVE_SECRETKEY, identity.secret)
        socket.set(zmq.ZAP_DOMAIN, DOMAIN)
        socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)

    @property
    def alive(self) -> bool:
        """Whether the thread answers."""
        return self._thread.is_alive()

    def revoked(self) -> bool:
        """Whether a key that was let in is listed no longer. Looks about once a second; True once for each such key."""
        if (now := time.monotonic()) < self._look_due:
            return False
        self._look_due = now + LOOK_S
        with self._lock:
            gone = self._let_in - self._listed()
            self._let_in -= gone
        return bool(gone)

    def _answer(self, zap: "zmq.Socket[bytes]") -> None:
        with zap:
            try:
                while True:
                    self._reply(zap, zap.recv_multipart())
            except zmq.ContextTerminated:
                return  # the guarded socket was closed

    def _reply(self, zap: "zmq.Socket[bytes]", request: list[bytes]) -> None:
        version, number, domain, _address, _identity, mechanism, *credentials = request
        key = z85.encode(credentials[0]) if mechanism == b"CURVE" and len(credentials) == 1 else b""
        with self._lock:
            welcome = domain == DOMAIN and key in self._listed()
            if welcome:
                self._let_in.add(key)
        verdict = [b"200", b"OK", key] if welcome else [b"400", b"key not listed", b""]
        zap.send_multipart([version, number, *verdict, b""])

    def _listed(self) -> frozenset[bytes]:
        stamp = self._keyring.stamp()
        if stamp != self._stamp:
            self._readers, self._stamp = self._keyring.readers(), stamp
        return self._readers
