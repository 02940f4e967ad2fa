"""Hosts that have IPv6 addresses, IPv4 addresses, or both."""

import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from stream.client import TokenStream
from stream.command.metrics import Monitor
from stream.publish.publisher import Publisher
from stream.wire.hosts import is_ipv6_only
from stream.wire.security import Security
from wire_samples import hop_of, next_packet

PATIENCE = 20.0
OPEN = Security(insecure=True)


def _named_for_ipv6() -> str | None:
    """A name of this machine that has an IPv6 address and no other, as Debian's ip6-localhost."""
    listed = Path("/etc/hosts").read_text(encoding="utf-8").splitlines() if Path("/etc/hosts").exists() else []
    names = [name for line in listed for name in line.partition("#")[0].split()[1:]]
    return next((name for name in names if is_ipv6_only(name)), None)


@pytest.mark.parametrize(
    ("found", "only"),
    [
        ([socket.AF_INET6], True),
        ([socket.AF_INET6, socket.AF_INET6], True),
        ([socket.AF_INET], False),
        ([socket.AF_INET6, socket.AF_INET], False),  # IPv4 always works then
    ],
)
def test_a_name_is_of_ipv6_where_it_has_no_other_address(
    found: list[int], only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def resolve(host: str, port: None, **hints: Any) -> list[tuple[int, Any]]:
        asked.append(host)
        return [(family, None) for family in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert is_ipv6_only("studio.example.org") is only
    assert asked == ["studio.example.org"]


def test_addresses_need_no_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_ipv6_only("127.0.0.1") is False
    assert is_ipv6_only("no-such-host.invalid") is False
    assert is_ipv6_only("x" * 300) is False
    monkeypatch.delattr(socket, "getaddrinfo")
    assert is_ipv6_only("[fd00::1]") is True
    assert is_ipv6_only("fe80::1%lo") is True


def test_a_name_that_has_only_an_ipv6_address_serves_and_is_served() -> None:
    name = _named_for_ipv6()
    if name is None:
        pytest.skip("no name in /etc/hosts has an IPv6 address alone")
    with Publisher(f"tcp://{name}:*", "demo", security=OPEN) as publisher:
        port = publisher.address.rpartition(":")[2]
        with TokenStream(f"tcp://{name}:{port}", security=OPEN) as stream:
            assert publisher.wait_for_subscriber(PATIENCE)
            publisher.publish(**hop_of())
            assert next_packet(stream).seq == 0
    with Monitor(f"{name}:0", "nothing") as monitor:
        urllib.request.urlopen(f"http://{monitor.address}/metrics", timeout=PATIENCE).close()
