"""Whoever floods is kept out for a while, in the system; links that there are go on."""

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from stream.client import TokenStream
from stream.publish.publisher import Publisher
from stream.wire.door import Door
from wire_samples import hop_of, next_packet
from zmtp import PATIENCE, part, reach

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="filters and counts are Linux's")

FLOOD = b"".join(part(b"\1%d" % number) for number in range(10_000))


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.setattr("stream.wire.door.FIRST_S", 2.0)
    with Publisher("tcp://127.0.0.1:*", "demo") as publisher:
        yield publisher


def gets_in(address: str, seconds: float) -> bool:
    try:
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        socket.create_connection((host, int(port)), seconds).close()
    except OSError:
        return False
    return True


def test_who_floods_is_kept_out_and_readers_go_on(publisher: Publisher) -> None:
    with TokenStream(publisher.address) as stream:
        assert publisher.wait_for_subscriber(PATIENCE)
        with reach(publisher.address, "SUB") as peer:
            assert peer.flood(FLOOD, 2**29) < 2**29
        assert not gets_in(publisher.address, 0.5)
        publisher.publish(**hop_of())
        assert next_packet(stream).seq == 0
        assert stream.reconnects == 0
    deadline = time.monotonic() + PATIENCE
    while not gets_in(publisher.address, PATIENCE):
        assert time.monotonic() < deadline, "kept out for ever"


def test_who_comes_too_often_is_kept_out(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.wire.door.BURST", 20.0)
    deadline = time.monotonic() + PATIENCE
    while gets_in(publisher.address, 0.5):
        assert time.monotonic() < deadline, "let in for ever"


def test_one_address_gets_a_part_of_the_handles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.wire.door._handles", lambda: 40)
    with Publisher("tcp://127.0.0.1:*", "demo") as publisher, ExitStack() as links:
        within = [links.enter_context(reach(publisher.address, "SUB")) for _ in range(10)]
        with suppress(ConnectionError), reach(publisher.address, "SUB") as eleventh:
            assert eleventh.link.recv(1) == b""
        assert not gets_in(publisher.address, 0.5)
        for peer in within:
            peer.send(part(b"\1tok/"))
        assert publisher.wait_for_subscriber(PATIENCE)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_system_drops_requests_for_links_from_an_address_and_no_other(host: str) -> None:
    other = {"127.0.0.1": "127.0.0.2"}.get(host)
    try:
        server = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError:
        pytest.skip(f"no {host} here")
    door = Door()
    with server, socket.create_connection(server.getsockname()[:2], PATIENCE) as before:
        served, _ = server.accept()
        door.listen(server.fileno())
        door.shut("192.0.2.7")
        door.shut("2001:db8::7")
        assert gets_in(f"{host}:{server.getsockname()[1]}", PATIENCE)
        door.shut(host)
        assert not gets_in(f"{host}:{server.getsockname()[1]}", 0.3)
        if other:
            with socket.create_connection(server.getsockname()[:2], PATIENCE, source_address=(other, 0)):
                pass
        with served:
            served.sendall(b"still here")
            assert before.recv(10) == b"still here"


def test_each_time_it_takes_longer_and_is_forgotten_one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    door = Door()
    for seconds in (10.0, 20.0, 40.0, 60.0, 60.0):
        door.shut("192.0.2.7")
        assert door.tend() == seconds
        assert not door.enter("192.0.2.7")
        assert door.enter("192.0.2.8")
        now += seconds
        assert door.tend() is None
        assert door.enter("192.0.2.7")
    now += 1000.0
    door.shut("::ffff:192.0.2.7")
    assert door.tend() == 10.0
    assert not door.enter("192.0.2.7")
