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
