"""Keeps newcomers from an address away from a listening socket for a while: in the system, before they cost anything.

Whoever is cut off for flooding comes back at once to flood anew, and what libzmq takes in before the next cut holds up
the stream. Links themselves cost something too, and each takes a handle. So the system is told to drop what asks for a
new link from there (a filter of the listening socket, as Linux has them). Links that there are stay.
"""

import ctypes
import ipaddress
import socket as system
import struct
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable
from contextlib import suppress

from stream.wire.limits import TokenBucket
from stream.wire.recent import recall

FIRST_S, LONGEST_S = 10.0, 60.0
"""Seconds for which an address is kept out: at first, and at most; twice as long each time it floods again."""

MEMORY_S = 600.0
"""Seconds after which it is forgotten that an address flooded."""

MOST = 32
"""Addresses that are kept out at once, the latest ones."""

KNOWN = 1024
"""Addresses of which it is known how often they came or flooded, the latest ones."""

RATE, BURST = 100.0, 1000.0
"""New links from one address, a second and at once: a reader without a link tries ten times a second."""

SHARE = 4
"""One address gets at most this part of our file handles."""

_ATTACH, _DETACH = 26, 27
"""SO_ATTACH_FILTER and SO_DETACH_FILTER of Linux, for which Python has no names."""

_NETWORK = 0x100000000 - 0x100000
"""Where the header of the network layer begins (SKF_NET_OFF)."""

_LOAD_BYTE, _LOAD_WORD, _AND, _IF_EQUAL, _RETURN = 0x30, 0x20, 0x54, 0x15, 0x06
_ALL = 0x40000
_Code = tuple[int, int, int, int]


class Door:
    """The door of one listening socket. For use from one thread."""

    def __init__(self) -> None:
        self._listener: int | None = None
        self._out: OrderedDict[bytes, float] = OrderedDict()  # until when
        self._times: OrderedDict[bytes, tuple[int, float]] = OrderedDict()  # how often one was put out, and when last
        self._comers: OrderedDict[bytes, TokenBucket] = OrderedDict()
        self._inside: Counter[bytes] = Counter()
        self._most = _handles() // SHARE

    def listen(self, number: int) -> None:
        """Note the handle of the listening socket."""
        self._listener = number
        self._set()

    def shut(self, peer: str) -> None:
        """Keep the address of a peer out for a while."""
        key, now = _key(peer), time.monotonic()
        often, last = recall(self._times, key, lambda: (0, now), KNOWN)
        often = 0 if now - last > MEMORY_S else often
        self._times[key] = often + 1, now
        until = now + min(FIRST_S * 2**often, LONGEST_S)
        recall(self._out, key, lambda: until, MOST)
        self._out[key] = until
        self._set()

    def enter(self, peer: str) -> bool:
        """Note a new link; whether it may stay."""
        key = _key(peer)
        self._inside[key] += 1
        if self._out.get(key, 0.0) > time.monotonic():
            return False
        often = recall(self._comers, key, lambda: TokenBucket(RATE, BURST), KNOWN).take() > 0
        if often or self._inside[key] > self._most:
            self.shut(peer)
            return False
        return True

    def leave(self, peer: str) -> None:
        """Note the end of a link."""
        key = _key(peer)
        self._inside[key] -= 1
        if self._inside[key] <= 0:
            del self._inside[key]

    def tend(self) -> float | None:
        """Let those in again whose time is over; return in how many seconds the next time is, None if none is out."""
        now = time.monotonic()
        over = [key for key, until in self._out.items() if until <= now]
        for key in over:
            del self._out[key]
        if over:
            self._set()
        return min((until - now for until in self._out.values()), default=None)

    def _set(self) -> None:
        """Tell the system. Where it has no such filters, newcomers are cut once they are in."""
        if self._listener is None:
            return
        with suppress(OSError):
            handle = system.socket(system.AF_INET, system.SOCK_STREAM, fileno=self._listener)
            try:
                if self._out:
                    code = b"".join(struct.pack("HBBI", *each) for each in _program(self._out))
                    kept = ctypes.create_string_buffer(code, len(code))
                    place = struct.pack("HP", len(code) // 8, ctypes.addressof(kept))
                    handle.setsockopt(system.SOL_SOCKET, _ATTACH, place)
                else:
                    handle.setsockopt(system.SOL_SOCKET, _DETACH, 0)
            finally:
                handle.detach()  # it stays libzmq's


def _handles() -> int:
    """Return how many file handles this process may have."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return 2**16
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**16 if soft == resource.RLIM_INFINITY else soft


def _key(peer: str) -> bytes:
    """Return what of an address tells who it is: an IPv4 address, or the half of an IPv6 one that names the network."""
    address = ipaddress.ip_address(peer.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        return address.packed[:8] if address.ipv4_mapped is None else address.ipv4_mapped.packed
    return address.packed


def _program(keys: Iterable[bytes]) -> list[_Code]:
    """Return a classic BPF program that drops requests for a new link from these."""
    flags: list[_Code] = [(_LOAD_BYTE, 0, 0, 13), (_AND, 0, 0, 0x12), (_IF_EQUAL, 1, 0, 0x02), (_RETURN, 0, 0, _ALL)]
    return [*flags, *(each for key in keys for each in _drop(key)), (_RETURN, 0, 0, _ALL)]


def _drop(key: bytes) -> list[_Code]:
    version, place = (0x40, 12) if len(key) == 4 else (0x60, 8)
    words = struct.unpack(f">{len(key) // 4}I", key)
    code: list[_Code] = [(_LOAD_BYTE, 0, 0, _NETWORK), (_AND, 0, 0, 0xF0), (_IF_EQUAL, 0, 2 * len(words) + 1, version)]
    for number, word in enumerate(words):
        left = 2 * (len(words) - number) - 1
        code += [(_LOAD_WORD, 0, 0, _NETWORK + place + 4 * number), (_IF_EQUAL, 0, left, word)]
    return [*code, (_RETURN, 0, 0, 0)]
