"""A port that is taken: what holds it is asked, and named."""

import socket
from collections.abc import Iterator

import pytest

from control_samples import Source
from stream.errors import WireError
from stream.publish.publisher import Publisher
from stream.wire.holder import advise
from stream.wire.security import Security


@pytest.fixture
def pair() -> Iterator[Source]:
    with Source() as source:
        host, _, port = source.address.rpartition(":")
        if source.control.address != f"{host}:{int(port) + 1}":
            pytest.skip("the port after the publisher's happened to be taken")
        yield source


def test_a_producer_is_named_by_its_streams(pair: Source) -> None:
    with pytest.raises(WireError, match=rf"{pair.address} is in use by a producer \(stream 'demo'\): take .* is free"):
        Publisher(pair.address, "mine")


def test_a_control_socket_is_said_to_be_one(pair: Source) -> None:
    port = pair.control.address.rpartition(":")[2]
    for host in ("127.0.0.1", "0.0.0.0", "*"):
        address = f"tcp://{host}:{port}"
        with pytest.raises(WireError) as caught:
            Publisher(address, "mine", security=Security(insecure=True))
        said, _, remedy = str(caught.value).partition(": take ")
        assert said == f"{address} is the control socket of a producer (stream 'demo')"
        free = remedy.removesuffix(", which is free")
        with Publisher(free, "mine", security=Security(insecure=True)):
            pass


def test_who_answers_nothing_or_nonsense_is_not_called_a_producer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "by what does not answer" in advise(f"tcp://127.0.0.1:{silent.getsockname()[1]}")
    assert "by what does not answer" in advise("tcp://127.0.0.1:65535")
