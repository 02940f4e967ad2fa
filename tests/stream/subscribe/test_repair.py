"""A reader ends with no gap, or with the exact list of what can no longer be had."""

import random
import threading
import time
from pathlib import Path

import pytest
import zmq

from control_samples import Relay, Source
from stream.client import Counters, Lost, TokenStream
from stream.log.reader import LogReader
from stream.log.writer import TokenLog
from stream.publish.publisher import Publisher
from stream.wire.packets import LARGEST, Goodbye, Packet, Status, encode, encode_control
from stream.wire.requests import Snapshot, SnapshotReply, decode_request, encode_reply
from wire_samples import EPOCH, PATIENCE, Rogue, hop_of, next_packet, sample


def seqs(packets: list[Packet], track: int = 0) -> list[int]:
    return [packet.seq for packet in packets if packet.track == track]


def test_gaps_are_filled_in_order() -> None:
    lossy = random.Random(1)
    with (
        Source() as source,
        Relay(source.address, lambda packet: lossy.random() < 0.3) as relay,
        TokenStream(relay.address) as stream,
    ):
        assert source.publisher.wait_for_subscriber(PATIENCE)
        for _ in range(100):
            source.publish(2, track=0)
            source.publish(1, track=7)
        source.publisher.goodbye("end")
        packets = source.read(stream, lambda: stream.ended)
        assert seqs(packets, 0) == list(range(200))
        assert seqs(packets, 7) == list(range(100))
        assert stream.lost == []
        assert stream.total.gaps == stream.total.late == stream.total.duplicates == 0
        assert stream.total.received == 300
        assert 30 < stream.total.repaired < 200


def test_a_gap_larger_than_a_reply_is_filled() -> None:
    with (
        Source() as source,
        Relay(source.address, lambda packet: 3 <= packet.seq < 1003) as relay,
        TokenStream(relay.address) as stream,
    ):
        assert source.publisher.wait_for_subscriber(PATIENCE)
        source.publish(1010)
        assert seqs(source.read(stream, 1010)) == list(range(1010))
        # What comes live after the gap may be among what is asked for.
        assert stream.total == Counters(received=1010, repaired=stream.total.repaired)
        assert 1000 <= stream.total.repaired <= 1007


def test_what_is_published_after_joining_is_not_missed_even_if_it_is_lost_first() -> None:
    with Source() as source, Relay(source.address, lambda packet: packet.seq < 13) as relay:
        source.publish(10)
        with TokenStream(relay.address) as stream:
            source.read(stream, lambda: stream.clock("demo") is not None)  # joined
            source.publish(5)
            assert seqs(source.read(stream, 5)) == [10, 11, 12, 13, 14]


def test_the_end_of_a_track_is_filled_without_a_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.subscribe.repair.LOOK_S", 0.1)
    with (
        Source() as source,
        Relay(source.address, lambda packet: packet.seq > 4) as relay,
        TokenStream(relay.address) as stream,
    ):
        assert source.publisher.wait_for_subscriber(PATIENCE)
        source.publish(8)
        assert seqs(source.read(stream, 8)) == list(range(8))


def test_a_person_whose_first_packets_are_lost_is_whole() -> None:
    with (
        Source() as source,
        Relay(source.address, lambda packet: packet.track == 5 and packet.seq < 3) as relay,
        TokenStream(relay.address) as stream,
    ):
        source.publish(1)
        source.read(stream, lambda: stream.clock("demo") is not None)
        source.publish(5, track=5)
        assert seqs(source.read(stream, 5), 5) == list(range(5))


def test_what_can_no_longer_be_had_is_listed_exactly() -> None:
    with (
        Source(history=0.3) as source,
        Relay(source.address, lambda packet: packet.seq in {2, 3, 5}) as relay,
        TokenStream(relay.address) as stream,
    ):
        assert source.publisher.wait_for_subscriber(PATIENCE)
        source.publish(2)
        assert seqs(source.read(stream, 2)) == [0, 1]
        source.publish(4)  # 2, 3 and 5 get lost, and 4 waits
        time.sleep(0.5)
        source.publish(1)  # the history lets go of them
        assert seqs(source.read(stream, 2)) == [4, 6]
        epoch = source.publisher.epoch
        assert stream.lost == [Lost("demo", 0, epoch, 2, 3), Lost("demo", 0, epoch, 5, 5)]
        assert stream.total == Counters(received=4, gaps=3)


def test_a_control_socket_that_does_not_answer_holds_nothing_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.subscribe.control_client.PATIENCE", 0.3)
    with (
        Publisher("tcp://127.0.0.1:*", "demo") as publisher,
        Relay(publisher.address, lambda packet: packet.seq == 1) as relay,
        TokenStream(relay.address) as stream,
    ):
        publisher.control = "tcp://*:9"
        assert publisher.wait_for_subscriber(PATIENCE)
        for _ in range(3):
            publisher.publish(**hop_of())
        got: list[int] = []
        deadline = time.monotonic() + PATIENCE
        while len(got) < 2 and time.monotonic() < deadline:
            heard = stream.poll(0.1)
            if heard and isinstance(heard.message, Packet):
                got.append(heard.message.seq)
        assert got == [0, 2]
        assert stream.lost == [Lost("demo", 0, publisher.epoch, 1, 1)]


def test_without_repair_gaps_are_only_counted() -> None:
    with (
        Source() as source,
        Relay(source.address, lambda packet: packet.seq == 1) as relay,
        TokenStream(relay.address, repair=False) as stream,
    ):
        assert source.publisher.wait_for_subscriber(PATIENCE)
        source.publish(3)
        assert seqs(source.read(stream, 2)) == [0, 2]
        assert stream.lost == [Lost("demo", 0, source.publisher.epoch, 1, 1)]
        assert stream.total == Counters(received=2, gaps=1)


def test_a_reader_that_starts_again_goes_on_where_it_was() -> None:
    with Source() as source:
        source.publish(10)
        source.publish(4, track=3)
        since = {("demo", 0, source.publisher.epoch): 6}
        with TokenStream(source.address, since=since) as stream:
            first = source.read(stream, 7)
            source.publish(2)
            rest = source.read(stream, 2)
            assert seqs(first) + seqs(rest) == [7, 8, 9, 10, 11]
            assert seqs(first, 3) == [0, 1, 2, 3]  # somebody who came meanwhile
            assert stream.total == Counters(received=9, repaired=7)


def test_a_packet_that_overtakes_the_status_makes_no_gap() -> None:
    """It can: a subscription may arrive just between the two."""
    with Source() as source, Rogue() as rogue:
        packets = source.publish(10)
        epoch = source.publisher.epoch
        status = Status(
            stream="demo", epoch=epoch, uptime=1.0, people=1, counters={}, control=source.control.told, published=10
        )
        with TokenStream(rogue.address, since={("demo", 0, epoch): 6}) as stream:
            rogue.wait_for_subscriber(b"tok/")
            rogue.send(encode(packets[9]))
            assert stream.poll(0.3) is None  # it waits for those before
            rogue.send(encode_control(status))
            assert [next_packet(stream) for _ in range(3)] == packets[7:]
            assert stream.lost == []


def test_earlier_epochs_come_from_the_log(tmp_path: Path) -> None:
    path = tmp_path / "tokens.db"
    epochs = []
    with TokenLog(path) as log:
        for run in range(3):
            with Source() as source:
                epochs.append(source.publisher.epoch)
                for packet in source.publish(5 + run) + source.publish(2, track=1):
                    log.append(
                        packet, source.publisher.history.frames(packet.track, packet.seq, packet.seq, 1)[0][1], 0
                    )
        log.flush(now=True)
        since = {("demo", 0, epochs[0]): 2, ("demo", 1, epochs[0]): 1}
        with (
            LogReader(path) as reader,
            Source(log=reader) as source,
            TokenStream(source.address, since=since) as stream,
        ):
            source.publish(3)
            packets = source.read(stream, 2 + (6 + 2) + (7 + 2) + 3)
            by_epoch = {epoch: [p for p in packets if p.epoch == epoch] for epoch in [*epochs, source.publisher.epoch]}
            assert [seqs(mine, 0) for mine in by_epoch.values()] == [[3, 4], [*range(6)], [*range(7)], [0, 1, 2]]
            assert [seqs(mine, 1) for mine in by_epoch.values()] == [[], [0, 1], [0, 1], []]
            assert stream.lost == []


def test_the_last_packets_before_a_crash_come_from_the_log(tmp_path: Path) -> None:
    path = tmp_path / "tokens.db"
    first = Source()
    port = first.address
    with TokenLog(path) as log, TokenStream(port) as stream:
        assert first.publisher.wait_for_subscriber(PATIENCE)
        assert seqs(first.read(stream, lambda: stream.clock("demo") is not None)) == []
        sent = first.publish(3)
        assert seqs(first.read(stream, 3)) == [0, 1, 2]
        first.close()  # without a goodbye; what follows reached the log and nobody else
        with Publisher("inproc://unheard", "demo") as unheard:
            unheard.epoch = first.publisher.epoch
            sent += [unheard.publish(**hop_of(track=9)) for _ in range(2)]
            frames = [unheard.history.frames(9, seq, seq, 1)[0][1] for seq in range(2)]
        for packet in sent[:3]:
            log.append(packet, first.publisher.history.frames(0, packet.seq, packet.seq, 1)[0][1], 0)
        for packet, frame in zip(sent[3:], frames, strict=True):
            log.append(packet, frame, 0)
        log.flush(now=True)
        with LogReader(path) as reader, Source(port, log=reader) as second:
            packets = second.read(stream, 2)
            second.publish(1)
            packets += second.read(stream, 1)
            assert [(p.track, p.seq, p.epoch == first.publisher.epoch) for p in packets] == [
                (9, 0, True),
                (9, 1, True),
                (0, 0, False),
            ]
            assert stream.streams["demo"].restarts == 1
            assert stream.lost == []


def test_stale_packets_are_left_out_and_counted() -> None:
    with Source() as source, TokenStream(source.address, max_lag=0.5) as stream:
        assert source.publisher.wait_for_subscriber(PATIENCE)
        now = time.monotonic_ns()
        boot = time.time_ns() - now
        for age in (10, 5, 0):
            t = now - age * 10**9
            source.publish(1, t=t, wall=t + boot)
        assert seqs(source.read(stream, 1)) == [2]
        assert stream.total == Counters(received=1, stale=2)


def test_a_fresh_reader_does_not_ask_for_what_would_be_stale() -> None:
    with (
        Source() as source,
        Relay(source.address, lambda packet: 1 <= packet.seq <= 100) as relay,
        TokenStream(relay.address, max_lag=60 * 8 / 30) as stream,
    ):
        assert source.publisher.wait_for_subscriber(PATIENCE)
        now = time.monotonic_ns()
        source.publish(102, t=now, wall=time.time_ns())
        packets = source.read(stream, lambda: stream.total.received + stream.total.stale == 102)
        assert stream.total.stale == 39
        assert seqs(packets) == [0, *range(40, 102)]
        assert source.control.counters.packets == 61


def test_more_people_than_are_remembered_are_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.subscribe.reorder.TRACKS", 4)
    with Source() as source, TokenStream(source.address) as stream:
        source.read(stream, lambda: stream.clock("demo") is not None)
        for track in range(12):
            source.publish(3, track=track)
        packets = source.read(stream, 36)
        assert all(seqs(packets, track) == [0, 1, 2] for track in range(12))
        source.publish(1, track=0)  # forgotten since
        assert seqs(source.read(stream, 1)) == [3]
        assert stream.total == Counters(received=37)


def test_joins_at_random_times_miss_nothing() -> None:
    stop = threading.Event()
    with Source() as source:

        def publish() -> None:
            number = random.Random(3)
            while not stop.is_set():
                source.publish(1, track=number.randrange(3))
                source.publisher.status(0, {})
                stop.wait(0.001)

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            for _ in range(50):
                with TokenStream(source.address) as stream:
                    packets: list[Packet] = []
                    deadline = time.monotonic() + PATIENCE
                    while len(packets) < 30 and time.monotonic() < deadline:
                        heard = stream.poll(0.1)
                        if heard and isinstance(heard.message, Packet):
                            packets.append(heard.message)
                    for track in range(3):
                        mine = seqs(packets, track)
                        assert mine == list(range(mine[0], mine[0] + len(mine))) if mine else True
                    assert len(packets) == 30
                    assert stream.total == Counters(received=30, repaired=stream.total.repaired)
        finally:
            stop.set()
            thread.join()


def test_the_goodbye_comes_after_the_last_packets() -> None:
    with (
        Source() as source,
        Relay(source.address, lambda packet: packet.seq > 1) as relay,
        TokenStream(relay.address) as stream,
    ):
        assert source.publisher.wait_for_subscriber(PATIENCE)
        source.publish(5)
        source.publisher.goodbye("end")
        heard = []
        deadline = time.monotonic() + PATIENCE
        while not stream.ended and time.monotonic() < deadline:
            if (next_one := stream.poll(0.1)) is not None:
                heard.append(next_one.message)
        assert isinstance(heard[-1], Goodbye)
        assert [message.seq for message in heard if isinstance(message, Packet)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("track", [0, LARGEST])
def test_a_listing_that_never_ends_is_left(track: int) -> None:
    context = zmq.Context()
    with Rogue() as rogue, context.socket(zmq.ROUTER) as control, TokenStream(rogue.address) as stream:
        port = control.bind_to_random_port("tcp://127.0.0.1")
        rogue.wait_for_subscriber(b"tok/")
        status = Status(
            stream="demo", epoch=EPOCH, uptime=1.0, people=1, counters={}, interval=0.25, control=f"tcp://*:{port}"
        )
        asked, seq = 0, 0
        packets: list[Packet] = []
        deadline = time.monotonic() + PATIENCE
        while len(packets) < 50 or not asked:
            assert time.monotonic() < deadline
            rogue.send(encode_control(status))
            rogue.send(encode(sample(seq=seq, epoch=EPOCH)))
            seq += 1
            while control.poll(5):
                peer, data = control.recv_multipart()
                request = decode_request(data)
                if isinstance(request, Snapshot):
                    asked += 1
                    reply = SnapshotReply(
                        id=request.id, stream="demo", epoch=EPOCH, tracks=((track, seq, 0),), more=True
                    )
                    control.send_multipart([peer, encode_reply(reply)])
            if (heard := stream.poll(0.01)) and isinstance(heard.message, Packet):
                packets.append(heard.message)
        assert asked < 10
    context.term()
