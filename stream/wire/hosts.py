"""Which family of addresses a host is reached by."""

import socket
from contextlib import suppress


def is_ipv6_only(host: str) -> bool:
    """Whether a host, an address or a name, can be reached by IPv6 alone. Asks the resolver about names.

    A name with addresses of both kinds is reached by IPv4: with IPv6 on, libzmq would try the other kind alone, also
    where the network has none of it (zeromq/libzmq#4313). A name that nobody knows now counts as one of IPv4.
    """
    if ":" in host:
        return True
    with suppress(OSError, ValueError):  # unknown; too long for a name
        families = {found[0] for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
        return families == {socket.AF_INET6}
    return False


def from_here(address: str) -> str:
    """Return the address by which this machine itself reaches what is bound to `address`, every host's or one's own."""
    for every, loopback in (("tcp://0.0.0.0:", "tcp://127.0.0.1:"), ("tcp://[::]:", "tcp://[::1]:")):
        if address.startswith(every):
            return loopback + address.removeprefix(every)
    return address
