"""Producer and reader over real sockets: in order, counted exactly, unmoved by garbage."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import zmq
from wire_samples import PATIENCE, Rogue, hop_of, next_heard, next_packet, sample

from stream.client import Counters, TokenStream
from stream.errors import WireError
from stream.publisher import FAREWELL_TRACKS, Publisher
from stream.wire import Goodbye, Packet, PacketError, Status, decode, encode, encode_control

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


def test_a_reader_hears_only_what_it_asked_for() -> None:
    with (
        Publisher(ANY_PORT, "demo") as publisher,
        TokenStream(publisher.address, stream="demo", track=1) as one,
        TokenStream(publisher.address, track=1) as tracks,
        TokenStream(publisher.address, stream="other") as other,
    ):
        assert publisher.wait_for_subscriber(PATIENCE)
        # All three have joined once each got a status; `other` can only be told by its silence.
        deadline = time.monotonic() + PATIENCE
        while not (one.streams and tracks.streams) and time.monotonic() < deadline:
            publisher.publish(**hop_of(track=1))
            one.poll(0.01)
            tracks.poll(0.01)
        for _ in range(5):
            publisher.publish(**hop_of(track=2))
            publisher.publish(**hop_of(track=1, reset=True))
        for stream in (one, tracks):
            for _ in range(5):
                while not (packet := next_packet(stream)).reset:
                    pass
                assert packet.track == 1
            assert stream.poll(0.05) is None
            assert stream.total.gaps == stream.total.late == 0
        assert other.poll(0.05) is None


def test_joining_late_is_no_gap() -> None:
    with Publisher(ANY_PORT, "demo") as publisher:
        for _ in range(20):
            publisher.publish(**hop_of())
        with TokenStream(publisher.address) as stream:
            assert publisher.wait_for_subscriber(PATIENCE)
            publisher.publish(**hop_of())
            assert next_packet(stream).seq == 20
            assert stream.total == Counters(received=1)


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
    monkeypatch.setattr("stream.client.RECEIVE_QUEUE", 10)
    monkeypatch.setattr("stream.publisher.HEARTBEAT_MS", 50)
    monkeypatch.setattr("stream.publisher.SILENT_LINK_MS", 150)
    with Publisher(ANY_PORT, "demo", live=False) as publisher, TokenStream(publisher.address) as stream:
        assert publisher.wait_for_subscriber(PATIENCE)
        for _ in range(STUCK):
            publisher.publish(**hop_of())
        time.sleep(0.6)  # the reader is busy for far longer than a silent link lives
        assert [next_packet(stream).seq for _ in range(STUCK)] == list(range(STUCK))


def test_what_a_live_reader_loses_by_being_busy_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.client.RECEIVE_QUEUE", 10)
    monkeypatch.setattr("stream.publisher.HEARTBEAT_MS", 50)
    monkeypatch.setattr("stream.publisher.SILENT_LINK_MS", 150)
    with Publisher(ANY_PORT, "demo") as publisher, TokenStream(publisher.address) as stream:
        assert publisher.wait_for_subscriber(PATIENCE)
        for _ in range(STUCK):
            publisher.publish(**hop_of())
        time.sleep(0.6)
        seqs = []
        while heard := stream.poll(0.5):  # whatever got through before the link was given up
            assert isinstance(heard.message, Packet)
            seqs.append(heard.message.seq)
        assert publisher.wait_for_subscriber(PATIENCE)
        last = publisher.publish(**hop_of()).seq
        seqs.append(next_packet(stream).seq)
        assert seqs == sorted(seqs)
        assert seqs[0] == 0
        assert seqs[-1] == last
        assert len(seqs) < STUCK
        assert stream.total == Counters(received=len(seqs), gaps=last + 1 - len(seqs))


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
    assert time.monotonic() - began < 2.0


def test_waiting_for_a_subscriber_ends() -> None:
    stop = threading.Event()
    with Publisher(ANY_PORT, "demo") as publisher:
        assert not publisher.wait_for_subscriber(0.05)
        with TokenStream(publisher.address, stream="other"):
            assert not publisher.wait_for_subscriber(0.2)
        stop.set()
        assert not publisher.wait_for_subscriber(PATIENCE, stop)


def test_a_restarted_producer_is_a_new_epoch_and_no_gap() -> None:
    first = Publisher(ANY_PORT, "demo")
    with TokenStream(first.address) as stream:
        assert first.wait_for_subscriber(PATIENCE)
        for _ in range(3):
            first.publish(**hop_of())
        first.goodbye("stopped")
        first.close()
        for _ in range(3):
            next_packet(stream)
        assert isinstance(next_heard(stream).message, Goodbye)
        with Publisher(first.address, "demo") as second:
            assert second.wait_for_subscriber(PATIENCE)
            second.publish(**hop_of())
            packet = next_packet(stream)
        assert (packet.seq, packet.epoch) == (0, second.epoch)
        assert second.epoch != first.epoch
        assert not stream.ended
        assert stream.streams["demo"].restarts == 1
        assert stream.total == Counters(received=4)


def test_gaps_duplicates_and_late_packets_are_counted_exactly() -> None:
    with Rogue() as rogue, TokenStream(rogue.address) as stream:
        rogue.wait_for_subscriber(b"tok/")
        for seq in (10, 11, 11, 15, 13, 13, 16, 2, 10):
            rogue.send(encode(sample(seq=seq)))
        rogue.send(encode(sample(stream="other", seq=0)))
        rogue.send(encode(sample(track=9, seq=100)))
        rogue.send(encode(sample(epoch=bytes(16), seq=0)))
        got = [next_packet(stream) for _ in range(7)]
        assert [packet.seq for packet in got] == [10, 11, 15, 16, 0, 100, 0]
        demo = Counters(received=6, gaps=2, duplicates=3, late=2)
        assert stream.streams["demo"].counters == demo
        assert stream.streams["other"].counters == Counters(received=1)
        assert stream.total == Counters(received=7, gaps=2, duplicates=3, late=2)
        # What a goodbye names beyond the last packet heard is lost too.
        goodbye = Goodbye(stream="demo", epoch=bytes(16), reason="end", last=((3, 4), (77, 1000)))
        rogue.send(encode_control(goodbye))
        assert next_heard(stream).message == goodbye
        assert stream.total.gaps == stream.streams["demo"].counters.gaps + 0 == 6


def test_garbage_is_counted_and_nothing_else_happens() -> None:
    sound = encode(sample(seq=0))
    with Rogue() as rogue, TokenStream(rogue.address) as stream:
        rogue.wait_for_subscriber(b"tok/")
        rogue.send(sound)
        garbage: list[tuple[bytes, ...]] = [
            (b"tok/",),
            (b"ctl/",),
            (b"tok/demo/3\0",),
            (b"tok/demo/3\0" + os.urandom(100),),
            (b"tok/\xff\xfe/3\0" + sound,),
            (b"ctl/demo\0\x80",),
            (b"ctl/" + sound[4:],),
            (sound[:-1],),
            (sound + b"\0",),
            (b"tok/demo/3\0" + bytes(100_000),),  # larger than any packet
            (sound, sound),  # two parts
            (sound, b"", b"x" * 1000, b""),
            (b"tok/demo/3\0", sound.partition(b"\0")[2]),
            (encode(sample(seq=1)).replace(b"\xa1v\x01", b"\xa1v\x02"),),
        ]
        for parts in garbage:
            rogue.send(*parts)
        rogue.send(b"other/topic")  # not subscribed to: never gets here
        rogue.send(encode(sample(seq=1)))
        assert [next_packet(stream).seq, next_packet(stream).seq] == [0, 1]
        assert stream.total == Counters(received=2, invalid=len(garbage))
        # Three of them do not name the stream in their topic.
        assert stream.streams["demo"].counters == Counters(received=2, invalid=len(garbage) - 3)


def test_a_huge_message_costs_only_the_link() -> None:
    with Rogue() as rogue, TokenStream(rogue.address) as stream:
        rogue.wait_for_subscriber(b"tok/")
        rogue.send(b"tok/demo/3\0" + bytes(2 * 1024 * 1024))
        # The link is dropped and opened again: from some packet on they get through.
        deadline = time.monotonic() + PATIENCE
        while (heard := stream.poll(0.02)) is None and time.monotonic() < deadline:
            rogue.send(encode(sample()))
        assert heard is not None
        assert heard.message == sample()
        assert stream.total.invalid == 0


def test_a_flood_of_garbage_does_not_hold_poll_beyond_its_time() -> None:
    with Rogue() as rogue, TokenStream(rogue.address) as stream:
        rogue.wait_for_subscriber(b"tok/")
        stop = threading.Event()

        def flood() -> None:
            while not stop.is_set():
                rogue.send(b"tok/garbage")

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            began = time.monotonic()
            assert stream.poll(0.3) is None
            assert time.monotonic() - began < 2.0
        finally:
            stop.set()
            thread.join()
        assert stream.total.invalid > 0


def test_memory_does_not_grow_with_made_up_names() -> None:
    with Rogue() as rogue, TokenStream(rogue.address) as stream:
        rogue.wait_for_subscriber(b"tok/")
        for number in range(900):
            rogue.send(encode(sample(stream=f"s{number}")))
        for _ in range(900):
            next_packet(stream)
        assert len(stream.streams) == 256
        assert stream.total.received == 900


def test_a_rejected_packet_counts_as_invalid() -> None:
    with Rogue() as rogue, TokenStream(rogue.address) as stream:
        rogue.wait_for_subscriber(b"tok/")
        rogue.send(encode(sample()))
        stream.reject(next_packet(stream))
        assert stream.total == stream.streams["demo"].counters == Counters(invalid=1)


def test_iterating_gives_packets_only() -> None:
    with Publisher(ANY_PORT, "demo") as publisher, TokenStream(publisher.address) as stream:
        assert publisher.wait_for_subscriber(PATIENCE)
        publisher.status(0, {})
        for _ in range(3):
            publisher.publish(**hop_of())
        assert [packet.seq for packet in islice(stream, 3)] == [0, 1, 2]


def test_latency_is_told_on_one_machine_only() -> None:
    with Publisher(ANY_PORT, "demo") as publisher, TokenStream(publisher.address) as stream:
        assert publisher.wait_for_subscriber(PATIENCE)
        publisher.publish(**hop_of(t=time.monotonic_ns(), wall=time.time_ns()))
        publisher.publish(**hop_of(t=time.monotonic_ns() + 3600 * 10**9, wall=time.time_ns()))
        here, elsewhere = next_heard(stream), next_heard(stream)
        assert here.latency_ms is not None
        assert 0 < here.latency_ms < 1000 * PATIENCE
        assert elsewhere.latency_ms is None


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
    with pytest.raises(WireError, match=r"is no address: write tcp://HOST:PORT"):
        Publisher(address, "demo")
    with pytest.raises(WireError, match=r"is no address: write tcp://HOST:PORT"):
        TokenStream(address)


def test_a_free_port_is_nothing_to_connect_to() -> None:
    for address in (ANY_PORT, "tcp://127.0.0.1:0"):
        with pytest.raises(WireError, match="is no address"):
            TokenStream(address)


def test_a_port_in_use_is_left_to_its_holder(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        address = f"tcp://127.0.0.1:{holder.getsockname()[1]}"
        with pytest.raises(WireError, match=f"{address} is in use: stop what holds it or choose another"):
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
        Publisher(address, "demo")


def test_bad_stream_names_open_no_socket() -> None:
    with pytest.raises(ValueError, match="cannot name a stream"):
        Publisher(ANY_PORT, "a/b")
    with pytest.raises(ValueError, match="cannot name a stream"):
        TokenStream("tcp://127.0.0.1:5555", stream="a/b")
