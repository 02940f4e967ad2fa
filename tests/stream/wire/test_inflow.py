import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest

from stream.client import TokenStream
from stream.publish.control import ControlServer
from stream.publish.history import History
from stream.publish.publisher import Publisher
from stream.subscribe.control_client import Asker
from stream.wire.packets import encode
from stream.wire.requests import Ping, Pong
from wire_samples import hop_of, next_packet, sample
from zmtp import PATIENCE, PING, Listener, part, reach

ANY_PORT = "tcp://127.0.0.1:*"

READER = """
import sys
from stream.client import TokenStream
with TokenStream(sys.argv[1], repair=False) as stream:
    for packet in stream:
        print(packet.seq, flush=True)
        break
"""

IDLE = """
import sys
from stream.client import TokenStream
with TokenStream(sys.argv[1], repair=False) as stream:
    print("open", flush=True)
    sys.stdin.read()
"""

CONTROL = """
import sys
from stream.publish.control import ControlServer
from stream.publish.history import History
with ControlServer(History("demo", bytes(16)), bind="tcp://127.0.0.1:*") as control:
    print(control.address, flush=True)
    sys.stdin.read()
    control.check()
"""

FLOOD = 512 * 2**20
"""Bytes that a flood would send if nobody cut it."""

PARTS = {"large": part(bytes(1000), more=True) * 64, "small": part(b"", more=True) * 32768}


@pytest.fixture(autouse=True)
def let_in_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.wire.door.FIRST_S", 0.05)


@contextmanager
def child(code: str, *args: str) -> Iterator["subprocess.Popen[str]"]:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, *args], stdin=pipe, stdout=pipe, encoding="utf-8") as process:
        try:
            yield process
        finally:
            process.kill()


def eventually(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def answers(address: str) -> bool:
    with Asker(address) as asker:
        return isinstance(asker.wait(Ping(id=0, t=0)), Pong)


def test_a_control_socket_outlives_links_that_are_reset_with_requests_and_pings_unread() -> None:
    with child(CONTROL) as process:
        address = line(process)
        for _ in range(10):
            peer = reach(address, "DEALER")
            peer.flood((part(b"x" * 8) * 20 + PING) * 100, 1)
            peer.reset()
        eventually(lambda: answers(address), "no answer any more")
        assert process.poll() is None


def test_a_reader_outlives_links_that_are_reset_with_packets_and_pings_unread() -> None:
    with Listener() as listener, child(READER, listener.address) as process:
        for _ in range(3):
            peer = listener.accept("PUB")
            peer.flood((part(b"tok/" + bytes(40)) * 300 + PING) * 100, 1)
            peer.reset()
        peer = listener.accept("PUB")
        peer.send(part(encode(sample(seq=7))))
        assert line(process) == "7"


@pytest.mark.parametrize("size", PARTS)
def test_a_message_of_endless_parts_ends_the_link_to_the_control_socket(size: str) -> None:
    with ControlServer(History("demo", bytes(16)), bind=ANY_PORT) as control:
        with reach(control.address, "DEALER") as peer:
            assert peer.flood(PARTS[size], FLOOD) < FLOOD
        eventually(lambda: answers(control.address), "no answer any more")


@pytest.mark.parametrize("size", PARTS)
def test_a_message_of_endless_parts_ends_the_link_to_the_stream(size: str) -> None:
    with Publisher(ANY_PORT, "demo") as publisher:
        with reach(publisher.address, "SUB") as peer:
            assert peer.flood(PARTS[size], FLOOD) < FLOOD
        publisher.status(0, {})


@pytest.mark.parametrize("size", PARTS)
@pytest.mark.parametrize("reader", [READER, IDLE], ids=["busy", "idle"])
def test_a_message_of_endless_parts_does_not_bloat_a_reader(size: str, reader: str) -> None:
    with Listener() as listener, child(reader, listener.address) as process:
        with listener.accept("PUB") as peer:
            before = psutil.Process(process.pid).memory_info().rss
            assert peer.flood(PARTS[size], FLOOD) < FLOOD
        # A part without content takes two bytes on the wire and some 64 in memory.
        assert psutil.Process(process.pid).memory_info().rss - before < FLOOD
        assert process.poll() is None


def test_a_flood_of_subscriptions_ends_its_link_and_no_other() -> None:
    with Publisher(ANY_PORT, "demo") as publisher, TokenStream(publisher.address) as stream:
        assert publisher.wait_for_subscriber(PATIENCE)
        with reach(publisher.address, "SUB") as peer:
            flood = b"".join(part(b"\1%d" % n) for n in range(10_000))
            assert peer.flood(flood, FLOOD) < FLOOD
        publisher.publish(**hop_of())
        assert next_packet(stream).seq == 0
        assert stream.reconnects == 0
