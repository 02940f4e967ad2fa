"""Where a control socket is: the port after the stream's, a free one, or beside an ipc path."""

import socket
from contextlib import suppress
from pathlib import Path

import pytest

from control_samples import Source
from stream.errors import WireError
from stream.publish.history import History
from stream.subscribe.control_client import control_address
from stream.wire.requests import Info, InfoReply


def hold_a_port_after_a_free_one() -> socket.socket:
    """Listen on a port whose neighbour below nobody has."""
    while True:
        holder = socket.socket()
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with socket.socket() as below, suppress(OSError):
            below.bind(("127.0.0.1", holder.getsockname()[1] - 1))
            return holder
        holder.close()


def test_the_port_is_the_next_one_or_a_free_one(tmp_path: Path) -> None:
    history = History("demo", bytes(16))
    with hold_a_port_after_a_free_one() as holder:
        taken = holder.getsockname()[1]
        with Source(f"tcp://127.0.0.1:{taken - 1}") as source:
            assert source.control.address != f"tcp://127.0.0.1:{taken}"
            assert source.control.told == f"tcp://*:{source.control.address.rpartition(':')[2]}"
            assert isinstance(source.ask(Info(id=0)), InfoReply)
            with pytest.raises(WireError, match=r"in use|is the control socket"):  # as far as it answers in time
                type(source.control)(history, source.control.address)
    with Source() as source:
        port, control = (int(address.rpartition(":")[2]) for address in (source.address, source.control.address))
        if control != port + 1:  # somebody else had that one
            with socket.socket() as probe, pytest.raises(OSError, match="in use"):
                probe.bind(("127.0.0.1", port + 1))
    with Source(f"ipc://{tmp_path}/tokens") as source:
        assert source.control.address == source.control.told == f"ipc://{tmp_path}/tokens.control"
        assert isinstance(source.ask(Info(id=0)), InfoReply)


@pytest.mark.parametrize(
    ("connect", "told", "address"),
    [
        ("tcp://10.0.0.7:5555", "tcp://*:5556", "tcp://10.0.0.7:5556"),
        ("tcp://[::1]:5555", "tcp://*:5556", "tcp://[::1]:5556"),
        ("ipc:///tmp/a", "ipc:///tmp/a.control", "ipc:///tmp/a.control"),
        ("ipc:///tmp/a", "tcp://*:6000", "tcp://127.0.0.1:6000"),
        ("tcp://10.0.0.7:5555", "ipc:///tmp/a.control", None),
        ("tcp://10.0.0.7:5555", "", None),
    ],
)
def test_where_the_control_socket_is(connect: str, told: str, address: str | None) -> None:
    assert control_address(connect, told) == address
