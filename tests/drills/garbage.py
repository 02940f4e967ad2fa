"""Bad bytes into the reader and the control socket."""

import gc
import signal
import time
from collections.abc import Callable
from itertools import islice

import psutil
import zmq

from engine.spec import load_tokenizer
from stream.client import TokenStream
from stream.errors import KinetokenError
from stream.publish.answers import Answers, Unanswerable
from stream.publish.publisher import Publisher
from stream.subscribe.control_client import control_address
from stream.wire.packets import Goodbye, Packet, PacketError, Status, encode, encode_control
from stream.wire.requests import (
    Chunk,
    Files,
    Info,
    Ping,
    Pong,
    Replay,
    Request,
    Snapshot,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
)
from wire_samples import Rogue, hop_of, sample

from .mutator import mutants
from .result import Figure, Plan, at_least, below, exactly, told
from .rig import PATIENCE, Child, free_address, producer, subscriber

GROWTH = 10.0
"""MiB that a million bad frames may leave behind."""

EPOCH = bytes(range(16))
BATCH = 500


def run(plan: Plan) -> list[Figure]:
    """Send a million mutated frames, half to a reader and half to what answers requests; some to real processes.

    The mass goes through a reader's socket and the request's decoder and answers within this process; thousands go
    over TCP to a subscriber and to the control socket of a producer. Nothing may crash or raise anything but the
    errors that are foreseen, every frame must be counted, and memory must not grow.
    """
    many = 10_000 if plan.quick else 500_000
    some = 300 if plan.quick else 3000
    return [*_reader(many), *_answers(many), *_subscriber(some), *_control(some)]


def _reader(many: int) -> list[Figure]:
    """Through the socket, decoder, counters and order of a `TokenStream`, repair and all."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    sender = context.socket(zmq.XPUB)
    sender.set(zmq.SNDHWM, 0)
    sender.bind("inproc://garbage")
    frames = mutants(_messages(), seed=6)
    controls = uncaught = sent = 0
    with sender, TokenStream("inproc://garbage") as stream:
        while sender.poll(int(PATIENCE * 1000)) and sender.recv() != b"\1tok/":
            pass

        def counted() -> int:
            total = stream.total
            heard = total.received + total.duplicates + total.late + total.stale
            return heard - total.repaired + total.invalid + controls

        def go(count: int) -> None:
            nonlocal controls, uncaught, sent
            for _ in range(0, count, BATCH):
                for frame in islice(frames, BATCH):
                    # What has neither topic is nothing that a subscription lets through.
                    sender.send(frame if frame[:4] in (b"tok/", b"ctl/") else b"tok/" + frame)
                sent += BATCH
                until = time.monotonic() + PATIENCE
                while counted() < sent and time.monotonic() < until:
                    try:
                        heard = stream.poll(0.01)
                    except Exception:
                        uncaught += 1
                        continue
                    controls += heard is not None and not isinstance(heard.message, Packet)

        warm = many // 10
        growth = _growth(go, warm, many)
    return [
        at_least("reader: frames", many, sent),
        exactly("reader: counted", sent, counted()),
        told("reader: of these refused", str(stream.total.invalid)),
        exactly("reader: uncaught", 0, uncaught),
        below("reader: memory growth", GROWTH, growth, "MiB"),
    ]


def _answers(many: int) -> list[Figure]:
    """Through the decoder of requests and what answers them."""
    with Publisher("inproc://nobody", "demo") as publisher:
        for n in range(400):
            publisher.publish(**hop_of(track=n % 4, frame=8 * n))
        tokenizer = load_tokenizer("heatmap2d-f8")
        answers = Answers(publisher.history, tokenizer, None)
        frames = mutants(_requests(publisher.epoch, tokenizer.spec.label), seed=7)
        refused = answered = unknown = uncaught = 0

        def go(count: int) -> None:
            nonlocal refused, answered, unknown, uncaught
            for frame in islice(frames, count):
                try:
                    encode_reply(answers.answer(decode_request(frame)))
                    answered += 1
                except PacketError:
                    refused += 1
                except (Unanswerable, KinetokenError, OSError):  # what the control socket answers by an error
                    unknown += 1
                except Exception:
                    uncaught += 1

        warm = many // 10
        growth = _growth(go, warm, many)
    return [
        at_least("requests: frames", many, warm + many),
        exactly("requests: counted", warm + many, refused + answered + unknown),
        told("requests: refused, unanswerable, answered", f"{refused}, {unknown}, {answered}"),
        exactly("requests: uncaught", 0, uncaught),
        below("requests: memory growth", GROWTH, growth, "MiB"),
    ]


def _growth(go: Callable[[int], None], warm: int, many: int) -> float:
    """Return by how many MiB this process grows with `many` frames, after `warm` ones."""
    go(warm)
    before = _memory()
    go(many)
    return _memory() - before


def _memory() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss / 2**20)


def _subscriber(some: int) -> list[Figure]:
    """Over TCP into a subscriber's process; then a good packet."""
    frames = mutants(_messages(), seed=8)
    with Rogue() as rogue, Child(subscriber(rogue.address)) as reader:
        rogue.wait_for_subscriber(b"tok/")
        for frame in islice(frames, some):
            rogue.send(frame)
        while not any('"stream":"sound"' in line for _, line in reader.out) and reader.process.poll() is None:
            rogue.send(encode(sample(stream="sound", seq=time.monotonic_ns())))
            time.sleep(0.05)
        alive = reader.process.poll() is None
        reader.send(signal.SIGTERM)
        code = reader.end()
    return [
        told("subscriber over TCP: frames", str(some)),
        exactly("subscriber over TCP: reads on", True, alive),
        exactly("subscriber over TCP: exit code", 0, code),
        exactly("subscriber over TCP: tracebacks", 0, reader.said.count("Traceback")),
    ]


def _control(some: int) -> list[Figure]:
    """Over TCP into the control socket of a producer's process, from several peers; then a good request."""
    address = free_address()
    context = zmq.Context()
    with Child(producer(address, "--demo")) as sender:
        with TokenStream(address) as stream:
            status, packet = _first(stream)
        requests = mutants(_requests(packet.epoch, packet.tokenizer), seed=9)
        where = control_address(address, status.control)
        assert where is not None
        peers = [context.socket(zmq.DEALER) for _ in range(10)]
        for peer in peers:
            peer.set(zmq.LINGER, 0)
            peer.connect(where)
        for n, frame in enumerate(islice(requests, some)):
            peers[n % len(peers)].send(frame)
            time.sleep(0.0005)
        answered = _ping(context, where)
        for peer in peers:
            peer.close()
        context.term()
        sender.send(signal.SIGTERM)
        code = sender.end()
    return [
        told("control socket over TCP: frames", str(some)),
        exactly("control socket over TCP: answers on", True, answered),
        exactly("control socket over TCP: exit code", 0, code),
        exactly("control socket over TCP: tracebacks", 0, sender.said.count("Traceback")),
    ]


def _first(stream: TokenStream) -> tuple[Status, Packet]:
    status: Status | None = None
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        heard = stream.poll(0.5)
        if heard and isinstance(heard.message, Status):
            status = heard.message
        elif heard and isinstance(heard.message, Packet) and status:
            return status, heard.message
    raise TimeoutError("no packets of the producer")


def _ping(context: "zmq.Context[zmq.Socket[bytes]]", where: str) -> bool:
    """Ask a good question, more than once should the peers before have used up the rate."""
    with context.socket(zmq.DEALER) as peer:
        peer.set(zmq.LINGER, 0)
        peer.connect(where)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            peer.send(encode_request(Ping(id=1, t=0)))
            if peer.poll(1000) and isinstance(decode_reply(peer.recv()), Pong):
                return True
    return False


def _messages() -> list[bytes]:
    packets = [encode(sample(seq=seq, track=track)) for seq in range(5) for track in range(4)]
    status = Status(stream="demo", epoch=EPOCH, uptime=1.0, people=2, counters={"frames": 9}, interval=0.25, control="")
    goodbye = Goodbye(stream="demo", epoch=EPOCH, reason="stopped", last=((0, 4), (1, 4)))
    return [*packets, encode_control(status), encode_control(goodbye)]


def _requests(epoch: bytes, tokenizer: str) -> list[bytes]:
    requests: list[Request] = [
        Ping(id=1, t=0),
        Info(id=2),
        Snapshot(id=3, stream="demo"),
        Snapshot(id=4, stream="demo", epoch=epoch, track=2),
        Replay(id=5, stream="demo", track=1, epoch=epoch, first=0, last=50),
        Replay(id=6, stream="demo", track=0, epoch=epoch, first=90, last=2**40),
        Files(id=7, tokenizer=tokenizer),
        Chunk(id=8, tokenizer=tokenizer, file="config.json", offset=0),
    ]
    return [encode_request(request) for request in requests]
