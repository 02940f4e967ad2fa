"""The producer's end over real sockets: in order, numbered, nothing lost on closing."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from stream.client import Counters, TokenStream
from stream.errors import WireError
from stream.publish.publisher import FAREWELL_TRACKS, Publisher
from stream.wire.packets import Goodbye, Packet, PacketError, Status, decode
from stream.wire.security import Security
from wire_samples import PATIENCE, hop_of, next_heard, next_packet

ANY_PORT = "tcp://127.0.0.1:*"
STUCK = 20_000
"""More packets than the buffers of a TCP connection hold."""


@pytest.mark.parametrize("bind", [ANY_PORT, "tcp://127.0.0.1:0", "ipc://{tmp}/tokens", "inproc://tokens"])
def test_packets_arrive_once_and_in_order(bind: str, tmp_path: Path) -> None:
    with Publisher(bind.format(tmp=tmp_path), "demo") as publisher, TokenStream(publisher.address) as stream:
        assert publisher.wait_for_subscriber(PATIENCE)
        sent = []
        for seq in range(50):
            for track in (0, 7):
                sent.append(publisher.publish(**hop_of(track=track, frame=8 * seq)))
        received = [next_packet(stream) for _ in sent]
        assert received == sent
        assert [packet.seq for packet in received if packet.track == 7] == list(range(50))
        assert {packet.epoch for packet in received} == {publisher.epoch}
        assert stream.total == Counters(received=100)
        assert stream.streams["demo"].counters == Counters(received=100)
        assert stream.poll(0) is None


def test_numpy_values_are_welcome() -> None:
    with Publisher(ANY_PORT, "demo") as publisher:
        packet = publisher.publish(
            **hop_of(
                track=np.int64(2),
                frame=np.int32(8),
                box=np.array([1, 2, 3], np.float32),
                observed=np.uint8(7),
                reset=np.bool_(True),
                ids=np.full((1, 1, 8, 8), 511, np.int32),
            )
        )
        assert (packet.track, packet.frame, packet.box, packet.observed) == (2, 8, (1.0, 2.0, 3.0), 7)
        assert packet.reset is True


def test_a_refused_packet_uses_up_no_number() -> None:
    with Publisher(ANY_PORT, "demo") as publisher:
        with pytest.raises(PacketError, match="observed"):
            publisher.publish(**hop_of(observed=1 << 8))
        assert publisher.publish(**hop_of()).seq == 0


def test_status_is_sent_once_a_second_and_goodbye_tells_the_end() -> None:
    with Publisher(ANY_PORT, "demo") as publisher, TokenStream(publisher.address) as stream:
        assert publisher.wait_for_subscriber(PATIENCE)
        for _ in range(100):
            publisher.status(people=2, counters={"frames dropped": 3})
        publisher.publish(**hop_of(track=5))
        publisher.publish(**hop_of(track=4))
        publisher.publish(**hop_of(track=5))
        assert not stream.ended
        publisher.goodbye("end of recording")
        messages = [next_heard(stream).message for _ in range(5)]
        status, *packets, goodbye = messages
        assert isinstance(status, Status)
        assert (status.people, status.counters, status.epoch) == (2, {"frames dropped": 3}, publisher.epoch)
        assert all(isinstance(packet, Packet) for packet in packets)
        assert isinstance(goodbye, Goodbye)
        assert (goodbye.reason, goodbye.last) == ("end of recording", ((4, 0), (5, 1)))
        assert stream.ended
        assert stream.total == Counters(received=3)


def test_a_goodbye_stays_small_however_many_people_there_were() -> None:
    with Publisher(ANY_PORT, "demo") as publisher, TokenStream(publisher.address) as stream:
        for track in range(FAREWELL_TRACKS + 500):
            publisher.publish(**hop_of(track=track))
        assert publisher.wait_for_subscriber(PATIENCE)
        publisher.goodbye("x" * 1000)
        while not isinstance(goodbye := next_heard(stream).message, Goodbye):
            pass
        assert goodbye.last[-1] == (FAREWELL_TRACKS + 499, 0)


def test_closing_delivers_the_goodbye() -> None:
    publisher = Publisher(ANY_PORT, "demo")
    with TokenStream(publisher.address) as stream:
        assert publisher.wait_for_subscriber(PATIENCE)
        for _ in range(200):
            publisher.publish(**hop_of())
        publisher.goodbye("stopped")
        publisher.close()
        publisher.close()
        for _ in range(200):
            next_packet(stream)
        assert isinstance(next_heard(stream).message, Goodbye)
        assert stream.total == Counters(received=200)


def test_a_replay_at_full_speed_drops_nothing() -> None:
    with Publisher(ANY_PORT, "demo", live=False) as publisher, TokenStream(publisher.address) as stream:
        assert publisher.wait_for_subscriber(PATIENCE)
        for _ in range(5000):  # well beyond the queue of a live stream
            publisher.publish(**hop_of())
        assert [next_packet(stream).seq for _ in range(5000)] == list(range(5000))


def test_a_replay_waits_for_a_busy_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.publish.outlet.HEARTBEAT_MS", 50)
    monkeypatch.setattr("stream.publish.outlet.SILENT_LINK_MS", 150)
    with Publisher(ANY_PORT, "demo", live=False) as publisher, TokenStream(publisher.address) as stream:
        assert publisher.wait_for_subscriber(PATIENCE)
        for _ in range(STUCK):
            publisher.publish(**hop_of())
        time.sleep(0.6)  # the reader is busy for far longer than a silent link lives
        assert [next_packet(stream).seq for _ in range(STUCK)] == list(range(STUCK))


@pytest.fixture
def stuck() -> Iterator[tuple[Publisher, "zmq.Socket[bytes]"]]:
    """A replay with its queue full of packets for a reader that takes none of them."""
    publisher = Publisher(ANY_PORT, "demo", live=False)
    context = zmq.Context()
    reader = context.socket(zmq.SUB)
    reader.set(zmq.RCVHWM, 1)
    reader.connect(publisher.address)
    reader.subscribe(b"tok/")
    assert publisher.wait_for_subscriber(PATIENCE)
    for _ in range(STUCK):
        publisher.publish(**hop_of())
    yield publisher, reader
    reader.close(linger=0)
    context.term()


def test_closing_a_replay_lets_its_reader_catch_up(stuck: tuple[Publisher, "zmq.Socket[bytes]"]) -> None:
    publisher, reader = stuck
    closing = threading.Thread(target=publisher.close, args=(PATIENCE,))
    closing.start()
    for seq in range(STUCK):
        assert reader.poll(int(PATIENCE * 1000)), f"packet {seq} was lost"
        assert decode(reader.recv()).seq == seq
    closing.join(PATIENCE)
    assert not closing.is_alive()


def test_a_stop_cuts_the_wait_for_a_stuck_reader_short(stuck: tuple[Publisher, "zmq.Socket[bytes]"]) -> None:
    publisher, _ = stuck
    stop = threading.Event()
    stop.set()
    began = time.monotonic()
    publisher.close(PATIENCE, stop)
    assert time.monotonic() - began < PATIENCE


def test_waiting_for_a_subscriber_ends() -> None:
    stop = threading.Event()
    with Publisher(ANY_PORT, "demo") as publisher:
        assert not publisher.wait_for_subscriber(0.05)
        with TokenStream(publisher.address, stream="other"):
            assert not publisher.wait_for_subscriber(0.2)
        stop.set()
        assert not publisher.wait_for_subscriber(PATIENCE, stop)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "5555",
        "127.0.0.1:5555",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:99999",
        "tcp://:5555",
        "udp://127.0.0.1:5",
        "ipc://",
    ],
)
def test_malformed_addresses(address: str) -> None:
    with pytest.raises(WireError, match=r"is not a valid address: use tcp://HOST:PORT"):
        Publisher(address, "demo")
    with pytest.raises(WireError, match=r"is not a valid address: use tcp://HOST:PORT"):
        TokenStream(address)


def test_a_file_at_an_ipc_path_is_left_alone(tmp_path: Path) -> None:
    for path in (tmp_path / "tokens.db", tmp_path / "folder"):
        if path.suffix:
            path.write_text("precious", encoding="utf-8")
        else:
            path.mkdir()
        with pytest.raises(WireError, match="already exists and is not a socket: choose another address"):
            Publisher(f"ipc://{path}", "demo")
    assert (tmp_path / "tokens.db").read_text(encoding="utf-8") == "precious"


def test_a_port_in_use_is_left_to_its_holder(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        address = f"tcp://127.0.0.1:{holder.getsockname()[1]}"
        with pytest.raises(
            WireError, match=rf"{address} is in use, by what does not .*take tcp://127.0.0.1:\d+, which is free"
        ):
            Publisher(address, "demo")
    path = f"ipc://{tmp_path}/tokens"
    with Publisher(path, "demo"), pytest.raises(WireError, match="is in use"):
        Publisher(path, "demo")
    with Publisher(path, "demo"):  # the file that the first one left behind is no obstacle
        pass


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("tcp://192.0.2.1:5555", "this machine has no such address"),
        ("tcp://no.such.host.invalid:5555", "this machine has no such address"),
        ("ipc:///no/such/folder/tokens", "cannot open ipc:///no/such/folder/tokens"),
        ("ipc://" + "long" * 50, "cannot open"),
    ],
)
def test_addresses_that_cannot_be_bound(address: str, advice: str) -> None:
    with pytest.raises(WireError, match=advice):
        Publisher(address, "demo", security=Security(insecure=True))


def test_bad_stream_names_open_no_socket() -> None:
    with pytest.raises(ValueError, match="cannot name a stream"):
        Publisher(ANY_PORT, "a/b")
    with pytest.raises(ValueError, match="cannot name a stream"):
        TokenStream("tcp://127.0.0.1:5555", stream="a/b")
