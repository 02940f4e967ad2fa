"""The control socket: what it answers, what it refuses, and that nobody who asks disturbs the stream."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from control_samples import Source
from engine.spec import SUMS, load_tokenizer, sha256
from stream.client import TokenStream
from stream.errors import WireError
from stream.log.reader import LogReader
from stream.log.writer import TokenLog
from stream.subscribe.control_client import Asker
from stream.wire.packets import VERSION, decode
from stream.wire.requests import (
    FRAMES,
    MAX_REQUEST,
    TRACKS,
    Chunk,
    ChunkReply,
    Files,
    FilesReply,
    Info,
    InfoReply,
    Ping,
    Pong,
    Refusal,
    Replay,
    ReplayReply,
    Snapshot,
    SnapshotReply,
    decode_reply,
    encode_request,
)
from wire_samples import PATIENCE, next_packet

TOKENIZER = load_tokenizer("heatmap2d-f8")


@pytest.fixture
def source() -> Iterator[Source]:
    with Source(tokenizer=TOKENIZER) as source:
        yield source


@pytest.fixture
def dealer(source: Source) -> Iterator["zmq.Socket[bytes]"]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.set(zmq.LINGER, 0)
        dealer.connect(source.control.address)
        yield dealer


def received(dealer: "zmq.Socket[bytes]") -> bytes:
    assert dealer.poll(int(PATIENCE * 1000)), "no answer"
    return dealer.recv()


def replay(source: Source, first: int, last: int, track: int = 0, epoch: bytes | None = None) -> ReplayReply:
    request = Replay(id=0, stream="demo", track=track, epoch=epoch or source.publisher.epoch, first=first, last=last)
    reply = source.ask(request)
    assert isinstance(reply, ReplayReply), reply
    return reply


def test_info_tells_what_there_is(source: Source) -> None:
    before = source.ask(Info(id=0))
    assert isinstance(before, InfoReply)
    assert (before.streams[0].tokenizer, before.streams[0].packets) == (None, 0)
    source.publish(3, track=0)
    source.publish(2, track=9)
    reply = source.ask(Info(id=0))
    assert isinstance(reply, InfoReply)
    (about,) = reply.streams
    assert (about.stream, about.epoch, about.epochs) == ("demo", source.publisher.epoch, (source.publisher.epoch,))
    assert (about.tokenizer, about.fps, about.hop) == ("heatmap2d-f8@0123456789ab", 30.0, 8)
    assert (about.tracks, about.packets, about.log) == (2, 5, False)
    assert 0 <= about.span <= about.uptime < PATIENCE


def test_a_snapshot_tells_where_every_track_is(source: Source) -> None:
    source.publish(3, track=0)
    source.publish(1, track=9, reset=True)
    source.publish(2, track=9)
    source.publish(1, track=9, reset=True)
    source.publish(1, track=9)
    reply = source.ask(Snapshot(id=0, stream="demo"))
    assert isinstance(reply, SnapshotReply)
    assert (reply.epoch, reply.tracks, reply.more) == (source.publisher.epoch, ((0, 2, 0), (9, 4, 3)), False)
    earlier = source.ask(Snapshot(id=0, stream="demo", at=4))
    assert isinstance(earlier, SnapshotReply)
    assert [track[:2] for track in earlier.tracks] == [(0, 2), (9, 0)]
    begin = source.ask(Snapshot(id=0, stream="demo", at=0))
    assert isinstance(begin, SnapshotReply)
    assert begin.tracks == ()


def test_a_snapshot_of_many_tracks_comes_in_pieces(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.publish.history.TRACKS", 3000)
    for track in range(TRACKS + 200):
        source.publish(1, track=2 * track)
    first = source.ask(Snapshot(id=0, stream="demo"))
    assert isinstance(first, SnapshotReply)
    assert (len(first.tracks), first.more) == (TRACKS, True)
    rest = source.ask(Snapshot(id=0, stream="demo", track=first.tracks[-1][0] + 1))
    assert isinstance(rest, SnapshotReply)
    assert ([track for track, _, _ in rest.tracks], rest.more) == (list(range(2 * TRACKS, 2 * TRACKS + 400, 2)), False)


def test_a_replay_gives_the_frames_as_they_were_sent(source: Source) -> None:
    with TokenStream(source.address) as stream:
        assert source.publisher.wait_for_subscriber(PATIENCE)
        sent = source.publish(FRAMES + 20)
        heard = [next_packet(stream) for _ in sent]
    reply = replay(source, 0, 1000)
    assert [decode(frame) for frame in reply.frames] == heard[:FRAMES] == sent[:FRAMES]
    assert (reply.next, reply.missing) == (FRAMES, ())
    rest = replay(source, reply.next, 1000)
    assert [decode(frame).seq for frame in rest.frames] == list(range(FRAMES, FRAMES + 20))
    assert rest.next == FRAMES + 20  # what is not yet published is not missing
    beyond = replay(source, 1000, 2000)
    assert (beyond.frames, beyond.missing, beyond.next) == ((), (), 1000)
    unknown = replay(source, 3, 7, track=77)
    assert (unknown.frames, unknown.missing, unknown.next) == ((), (), 3)  # it may come yet
    for_ever = replay(source, 0, 2**63 - 1, track=77)
    assert (for_ever.frames, for_ever.missing, for_ever.next) == ((), (), 0)


def test_what_the_history_let_go_of_is_missing_or_comes_from_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tokens.db"
    with TokenLog(path) as log, LogReader(path) as reader, Source(log=reader) as source:
        for packet in source.publish(10):
            if packet.seq != 2:
                log.append(packet, source.publisher.history.frames(0, packet.seq, packet.seq, 1)[0][1], 0)
        monkeypatch.setattr(source.publisher.history, "_max_bytes", 1500)
        source.publish(1)
        held = replay(source, 0, 10)
        oldest = decode(held.frames[0]).seq
        assert oldest > 3
        assert (held.missing, held.next) == (((0, oldest - 1),), 11)
        log.flush(now=True)
        kept = replay(source, 0, 10)
        assert [decode(frame).seq for frame in kept.frames] == [0, 1, *range(3, 11)]
        assert (kept.missing, kept.next) == (((2, 2),), 11)


def test_an_epoch_of_before_comes_from_the_log(tmp_path: Path) -> None:
    path = tmp_path / "tokens.db"
    with TokenLog(path) as log, Source() as earlier:
        epoch = earlier.publisher.epoch
        for track in (0, 4):
            for packet in earlier.publish(100, track=track):
                if packet.seq != 50:
                    log.append(packet, earlier.publisher.history.frames(track, packet.seq, packet.seq, 1)[0][1], 0)
        log.flush(now=True)
    with LogReader(path) as reader, Source(log=reader) as source:
        info = source.ask(Info(id=0))
        assert isinstance(info, InfoReply)
        assert info.streams[0].epochs == (epoch, source.publisher.epoch)
        assert info.streams[0].log
        ends = source.ask(Snapshot(id=0, stream="demo", epoch=epoch))
        assert isinstance(ends, SnapshotReply)
        assert ends.tracks == ((0, 99, 0), (4, 99, 0))
        reply = replay(source, 10, 99, track=4, epoch=epoch)
        assert [decode(frame).seq for frame in reply.frames] == [*range(10, 50), *range(51, 75)]
        assert (reply.missing, reply.next) == (((50, 50),), 75)
        unknown = source.ask(Snapshot(id=0, stream="demo", epoch=bytes(16)))
        assert isinstance(unknown, Refusal)
        assert unknown.code == "unknown"


def test_a_ping_tells_the_clocks(source: Source) -> None:
    sent = time.monotonic_ns()
    reply = source.ask(Ping(id=0, t=sent))
    assert isinstance(reply, Pong)
    assert reply.t == sent < reply.received <= reply.sent < time.monotonic_ns()
    assert abs(reply.wall - time.time_ns()) < 60e9


def test_a_reader_knows_the_producers_clock(source: Source) -> None:
    with TokenStream(source.address) as stream:
        source.read(stream, lambda: stream.clock("demo") is not None)
        clock = stream.clock("demo")
        assert clock is not None
        assert 0 < clock.round_trip < PATIENCE * 1e9
        assert abs(clock.offset) <= clock.round_trip / 2  # both are on one machine
        # A packet from a machine that booted at another time, whose clock is ours as far as the ping can tell.
        source.publish(1, t=time.monotonic_ns() - 10**9, wall=0)
        while (heard := stream.poll(PATIENCE)) is None or heard.latency_ms is None:
            pass
        assert 900 < heard.latency_ms < 1000 * PATIENCE


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Snapshot(id=0, stream="other"), "no stream other here, only demo"),
        (Replay(id=0, stream="other", track=0, epoch=bytes(16), first=0, last=1), "no stream other"),
        (Replay(id=0, stream="demo", track=0, epoch=bytes(16), first=0, last=1), "no epoch 0000"),
        (Snapshot(id=0, stream="demo", epoch=bytes(16)), "no epoch 0000"),
        (Files(id=0, tokenizer="other@0123456789ab"), "no tokenizer other@0123456789ab here"),
        (Chunk(id=0, tokenizer="other@0123456789ab", file="config.json", offset=0), "no tokenizer"),
        (Chunk(id=0, tokenizer=TOKENIZER.spec.label, file="passwd", offset=0), "no file passwd"),
    ],
)
def test_what_is_not_here_is_refused_by_name(source: Source, request_: Snapshot, reason: str) -> None:
    reply = source.ask(request_)
    assert isinstance(reply, Refusal)
    assert reply.code == "unknown"
    assert reply.text.startswith(reason)


def test_files_come_whole(source: Source) -> None:
    files = source.ask(Files(id=0, tokenizer=TOKENIZER.spec.label))
    assert isinstance(files, FilesReply)
    sums = {file.name: (file.size, file.sha256) for file in files.files}
    assert {"config.json", "decoder.onnx", "encoder.onnx", "model.safetensors", "README.md", SUMS} == set(sums)
    data = b""
    while True:
        piece = source.ask(Chunk(id=0, tokenizer=TOKENIZER.spec.label, file="decoder.onnx", offset=len(data)))
        assert isinstance(piece, ChunkReply)
        if not piece.data:
            break
        data += piece.data
    assert data == TOKENIZER.graph("decoder").read_bytes()
    assert sums["decoder.onnx"] == (len(data), sha256(TOKENIZER.graph("decoder")))


def test_another_language_may_ask_with_a_plain_request_socket(source: Source) -> None:
    with zmq.Context() as context, context.socket(zmq.REQ) as asker:
        asker.set(zmq.LINGER, 0)
        asker.connect(source.control.address)
        asker.send(msgpack.packb({"v": 1, "type": "info", "id": 5, "colour": "blue"}))
        assert asker.poll(int(PATIENCE * 1000))
        reply = msgpack.unpackb(asker.recv())
    assert (reply["type"], reply["id"], reply["streams"][0]["stream"]) == ("info", 5, "demo")


@pytest.mark.parametrize(
    ("data", "identity", "reason"),
    [
        (b"", 0, "Input data was truncated"),
        (b"\xc1", 0, ""),
        (b"\x91" * 600, 0, ""),
        (msgpack.packb({"v": 1, "type": "dance", "id": 7}), 7, "Invalid value 'dance'"),
        (msgpack.packb({"v": 2, "type": "info", "id": 7}), 7, f"wire version 2, this reader knows {VERSION}"),
        (msgpack.packb({"v": 1, "type": "info", "id": -1}), 0, "Expected `int` >= 0"),
        (msgpack.packb({"v": 1, "type": "ping", "id": 1}), 1, "Object missing required field `t`"),
        (msgpack.packb({"v": 1, "type": "info", "id": 3, "x": "y" * MAX_REQUEST}), 0, "request of 10"),
        (
            msgpack.packb(
                {
                    "v": 1,
                    "type": "replay",
                    "id": 3,
                    "stream": "demo",
                    "track": 0,
                    "epoch": bytes(16),
                    "first": 2,
                    "last": 1,
                }
            ),
            3,
            "replay from 2 to 1",
        ),
    ],
)
def test_malformed_requests_are_counted_and_told(
    source: Source, dealer: "zmq.Socket[bytes]", data: bytes, identity: int, reason: str
) -> None:
    dealer.send(data)
    reply = decode_reply(received(dealer))
    assert isinstance(reply, Refusal)
    assert (reply.code, reply.id) == ("malformed", identity)
    assert reason in reply.text
    assert source.control.counters.malformed == source.control.counters.refused == 1


def test_messages_in_parts_and_huge_ones_get_no_answer(source: Source, dealer: "zmq.Socket[bytes]") -> None:
    dealer.send_multipart([b"a", b"b", b"c"])
    dealer.send(encode_request(Info(id=1)))
    assert decode_reply(received(dealer)).id == 1
    assert source.control.counters.malformed == 1
    dealer.send(bytes(1_000_000))
    assert isinstance(source.ask(Info(id=0)), InfoReply)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=80), min_size=1, max_size=5))
def test_random_bytes_end_nothing(answering: Source, messages: list[bytes]) -> None:
    before = answering.control.counters.requests
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.set(zmq.LINGER, 0)
        dealer.connect(answering.control.address)
        for message in messages:
            dealer.send(message)
            assert isinstance(decode_reply(received(dealer)), Refusal)
    assert answering.control.counters.requests == before + len(messages)


@pytest.fixture(scope="module")
def answering() -> Iterator[Source]:
    with Source() as source:
        yield source


def test_who_asks_too_often_is_told_to_wait(
    monkeypatch: pytest.MonkeyPatch, source: Source, dealer: "zmq.Socket[bytes]"
) -> None:
    monkeypatch.setattr("stream.publish.control.PEER_RATE", 2.0)
    monkeypatch.setattr("stream.publish.control.PEER_BURST", 5.0)
    replies = []
    for number in range(8):
        dealer.send(encode_request(Info(id=number)))
        replies.append(decode_reply(received(dealer)))
    busy = [reply for reply in replies if isinstance(reply, Refusal)]
    assert len(busy) >= 1
    assert all(reply.code == "busy" and 0 < reply.retry <= 0.5 for reply in busy)
    with Asker(source.control.address) as asker:  # one that waits as told gets every answer
        assert all(isinstance(asker.wait(Info(id=0)), InfoReply) for _ in range(7))


def test_a_peer_that_takes_no_replies_stops_nobody(source: Source) -> None:
    source.publish(FRAMES)
    with zmq.Context() as context, context.socket(zmq.DEALER) as deaf, TokenStream(source.address) as stream:
        deaf.set(zmq.LINGER, 0)
        deaf.set(zmq.RCVHWM, 1)
        deaf.connect(source.control.address)
        request = encode_request(
            Replay(id=1, stream="demo", track=0, epoch=source.publisher.epoch, first=0, last=FRAMES)
        )
        assert source.publisher.wait_for_subscriber(PATIENCE)
        for _ in range(300):
            deaf.send(request)
        source.publish(50)
        assert [packet.seq for packet in source.read(stream, 50)] == list(range(FRAMES, FRAMES + 50))
        assert isinstance(source.ask(Info(id=0)), InfoReply)


def test_closing_leaves_time_for_the_last_questions() -> None:
    with Source() as source:
        source.publish(2)
        closing = threading.Thread(target=source.control.close, kwargs={"quiet": 2.0, "limit": 6.0})
        closing.start()
        assert isinstance(source.ask(Info(id=0)), InfoReply)
        closing.join(PATIENCE)
        assert not closing.is_alive()


def test_whatever_ends_the_thread_is_told_to_the_run(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(socket: object) -> None:
        raise WireError("the address is in use")

    source.control.check()
    monkeypatch.setattr("stream.publish.control.attend", lost)
    source.control._thread.join(PATIENCE)
    with pytest.raises(WireError, match="in use"):
        source.control.check()
