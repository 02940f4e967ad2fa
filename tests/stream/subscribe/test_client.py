"""The reader's end over real sockets: counted exactly, unmoved by garbage."""

import os
import threading
import time
from itertools import islice

import pytest

from engine.session import Decoder, open_decoder
from engine.spec import load_tokenizer
from stream.client import Counters, TokenStream
from stream.errors import SilenceError, TokenizerError, WireError
from stream.publish.publisher import Publisher
from stream.wire.packets import Goodbye, Packet, encode, encode_control
from wire_samples import PATIENCE, Rogue, hop_of, next_heard, next_packet, sample

ANY_PORT = "tcp://127.0.0.1:*"
STUCK = 20_000
"""More packets than the buffers of a TCP connection hold."""


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


def test_what_a_live_reader_loses_by_being_busy_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.wire.inflow.UNREAD", 50_000)
    monkeypatch.setattr("stream.publish.outlet.HEARTBEAT_MS", 50)
    monkeypatch.setattr("stream.publish.outlet.SILENT_LINK_MS", 150)
    with Publisher(ANY_PORT, "demo") as publisher, TokenStream(publisher.address) as stream:
        assert publisher.wait_for_subscriber(PATIENCE)
        for _ in range(STUCK):
            publisher.publish(**hop_of())
        time.sleep(0.6)
        seqs = []
        while heard := stream.poll(0.5):  # whatever got through before the link was given up
            if isinstance(heard.message, Packet):
                seqs.append(heard.message.seq)
        assert publisher.wait_for_subscriber(PATIENCE)
        last = publisher.publish(**hop_of()).seq
        seqs.append(next_packet(stream).seq)
        assert seqs == sorted(seqs)
        assert seqs[0] == 0
        assert seqs[-1] == last
        assert len(seqs) < STUCK
        assert stream.total == Counters(received=len(seqs), gaps=last + 1 - len(seqs))


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
            deadline = time.monotonic() + PATIENCE
            while not second.wait_for_subscriber(0.05) and time.monotonic() < deadline:
                stream.poll(0)  # a reader subscribes again when it reads
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
            assert time.monotonic() - began < PATIENCE
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
        heard = [next_heard(stream) for _ in range(3)]
        here, elsewhere = [each for each in heard if isinstance(each.message, Packet)]
        assert here.latency_ms is not None
        assert 0 < here.latency_ms < 1000 * PATIENCE
        assert elsewhere.latency_ms is None


def test_a_free_port_is_nothing_to_connect_to() -> None:
    for address in (ANY_PORT, "tcp://127.0.0.1:0"):
        with pytest.raises(WireError, match="is not a valid address"):
            TokenStream(address)


def test_once_ends_with_the_goodbye() -> None:
    with (
        Publisher(ANY_PORT, "demo") as publisher,
        TokenStream(publisher.address, once=True, timeout=PATIENCE) as stream,
    ):
        assert publisher.wait_for_subscriber(PATIENCE)
        for _ in range(3):
            publisher.publish(**hop_of())
        publisher.goodbye("source ended")
        assert [packet.seq for packet in stream] == [0, 1, 2]


def test_silence_is_raised_before_and_after_packets_and_ends_a_stream_that_said_goodbye() -> None:
    with Publisher(ANY_PORT, "demo") as publisher, TokenStream(publisher.address, timeout=0.3) as stream:
        with pytest.raises(SilenceError, match=rf"nothing heard from {publisher.address} for 0.3 s: is the producer"):
            next(iter(stream))
        assert publisher.wait_for_subscriber(PATIENCE)
        publisher.publish(**hop_of())
        packets = iter(stream)
        assert next(packets).seq == 0
        with pytest.raises(SilenceError):
            next(packets)
        publisher.publish(**hop_of())
        publisher.goodbye("source ended")
        assert [packet.seq for packet in stream] == [1]
    with pytest.raises(ValueError, match="timeout 0: seconds above 0"):
        TokenStream("tcp://127.0.0.1:1", timeout=0)


def test_a_named_tokenizer_is_open_before_anything_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def opener(name: str) -> Decoder:
        opened.append(name)
        return open_decoder(name, "onnxruntime")

    monkeypatch.setattr("stream.client.open_decoder", opener)
    tokenizer = load_tokenizer("heatmap2d-f8").spec
    with (
        Publisher(ANY_PORT, "demo") as publisher,
        TokenStream(publisher.address, decode=True, tokenizer="heatmap2d-f8", once=True, timeout=PATIENCE) as stream,
    ):
        assert opened == ["heatmap2d-f8"]
        assert publisher.wait_for_subscriber(PATIENCE)
        publisher.publish(**hop_of(tokenizer=tokenizer.label))
        publisher.goodbye("source ended")
        assert len(list(stream.motions())) == 1
        assert opened == ["heatmap2d-f8"]
    with pytest.raises(TokenizerError, match="no tokenizer 'waltz'"):
        TokenStream(publisher.address, decode=True, tokenizer="waltz")
