"""The reader's end of the wire: connects, checks what comes and counts what did not."""

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import zmq

from stream.link import LinkKeeper
from stream.recent import recall
from stream.sequence import Sequence
from stream.sockets import close_socket, open_socket
from stream.wire import (
    Control,
    Goodbye,
    Message,
    Packet,
    PacketError,
    check_stream_name,
    control_topic,
    decode_message,
    packet_topic,
)

RECEIVE_QUEUE = 10_000
"""Packets that wait in memory for a busy reader, some 6 MB; beyond them those of a live stream are lost."""

MAX_MESSAGE = 1024 * 1024
"""Bytes from which on libzmq drops the link to the sender instead of taking a message in."""

STREAMS, TRACKS = 256, 4096
"""How many streams and tracks are remembered, the most recent ones."""


@dataclass(slots=True)
class Counters:
    """What became of the packets.

    received: valid and in order, handed to the reader. gaps: lost, that is skipped and not come since.
    duplicates: heard before. late: came after a later one of their track. invalid: not of the wire format;
    frames of unknown origin count in the total only. The middle three are exact within the last 1024 packets
    of a track (see `stream.sequence`). Duplicate, late and invalid packets are not handed on.
    """

    received: int = 0
    gaps: int = 0
    duplicates: int = 0
    late: int = 0
    invalid: int = 0

    def __str__(self) -> str:
        return (
            f"received {self.received}, gaps {self.gaps}, duplicates {self.duplicates}, "
            f"late {self.late}, invalid {self.invalid}"
        )


@dataclass(slots=True)
class StreamState:
    """What is known of one stream: its producer's epoch, restarts (changes of epoch), goodbye heard."""

    epoch: bytes = b""
    restarts: int = 0
    ended: bool = False
    counters: Counters = field(default_factory=Counters)


class Heard(NamedTuple):
    """One message, the exact frame it came in, and when: ns since 1970 and ns of the monotonic clock."""

    message: Message
    frame: bytes
    wall: int
    monotonic: int

    @property
    def latency_ms(self) -> float | None:
        """Time from a packet's capture to its receipt; None unless both were on one machine's clock."""
        if not isinstance(self.message, Packet):
            return None
        # Wall minus monotonic time is when the machine booted: equal only on the same one.
        booted_apart = (self.wall - self.monotonic) - (self.message.wall - self.message.t)
        return (self.monotonic - self.message.t) / 1e6 if abs(booted_apart) < 1e9 else None


class TokenStream:
    """Reads packets of tokens; iterate over it, or `poll` for control messages and time-outs too.

    connect: the producer's address. stream, track: hear only these. Reconnects by itself for as long as it is
    open. For use from one thread. Raises WireError for a malformed address, ValueError for a bad stream name.

        with TokenStream("tcp://127.0.0.1:5555") as stream:
            for packet in stream:
                print(packet.stream, packet.track, packet.ids())
    """

    def __init__(self, connect: str, stream: str | None = None, track: int | None = None) -> None:
        self.total = Counters()
        self.streams: OrderedDict[str, StreamState] = OrderedDict()
        self._tracks: OrderedDict[tuple[str, int, bytes], Sequence] = OrderedDict()
        self._track = track
        options = {
            zmq.RCVHWM: RECEIVE_QUEUE,
            zmq.LINGER: 0,
            zmq.MAXMSGSIZE: MAX_MESSAGE,
            zmq.CONNECT_TIMEOUT: 1000,
            zmq.RECONNECT_IVL: 100,
            zmq.RECONNECT_IVL_MAX: 1000,
            # Heartbeats are the producer's. libzmq 4.3 aborts the process when a reader's own heartbeat times out
            # while its queue is full (zeromq/libzmq#3937); TCP keepalive finds a cut link here.
            zmq.HEARTBEAT_IVL: 0,
        }
        if stream is not None:
            check_stream_name(stream)
        self._socket = open_socket(zmq.SUB, connect, options)
        self._link = LinkKeeper(self._socket, connect)
        # Packets last: a producer that waits for their subscription then knows that it has all of them.
        self._socket.subscribe(b"ctl/" if stream is None else control_topic(stream))
        if stream is None:
            self._socket.subscribe(b"tok/")
        else:
            self._socket.subscribe(f"tok/{stream}/" if track is None else packet_topic(stream, track))

    @property
    def ended(self) -> bool:
        """True when something was heard and the producer of every stream heard has said goodbye."""
        return bool(self.streams) and all(state.ended for state in self.streams.values())

    def poll(self, timeout: float) -> Heard | None:
        """Return the next message that is valid and in order, None if none comes within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while self._socket.poll(max(0, int((deadline - time.monotonic()) * 1000))):
            frame = self._receive()
            wall, monotonic = time.time_ns(), time.monotonic_ns()
            if frame is not None and (message := self._accept(frame)) is not None:
                return Heard(message, frame, wall, monotonic)
            if time.monotonic() > deadline:
                break
        self._link.mend()
        return None

    def reject(self, packet: Packet) -> None:
        """Count a packet as invalid after all, such as one with ids outside its tokenizer's vocabulary."""
        for counters in (self.total, self._state(packet.stream).counters):
            counters.received -= 1
            counters.invalid += 1

    def close(self) -> None:
        """Close the socket. Safe to call twice."""
        self._link.close()
        close_socket(self._socket, linger_ms=0)

    def __iter__(self) -> Iterator[Packet]:
        """Yield packets for as long as the caller wants them, across restarts of the producer."""
        while True:
            heard = self.poll(1.0)
            if heard and isinstance(heard.message, Packet):
                yield heard.message

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _receive(self) -> bytes | None:
        """Return the frame of one message; None for a message of several, which no producer of ours sends."""
        frame = self._socket.recv()
        parts = 1
        while self._socket.get(zmq.RCVMORE):
            self._socket.recv()
            parts += 1
        if parts > 1:
            self._count_invalid(frame)
            return None
        return frame

    def _accept(self, frame: bytes) -> Message | None:
        try:
            message = decode_message(frame)
        except PacketError:
            self._count_invalid(frame)
            return None
        if not isinstance(message, Packet):
            return self._note(message)
        if self._track is not None and message.track != self._track:
            return None
        state = self._enter_epoch(message)
        key = (message.stream, message.track, message.epoch)
        arrival, lost = recall(self._tracks, key, Sequence, TRACKS).take(message.seq)
        for counters in (self.total, state.counters):
            counters.gaps += lost
            counters.received += arrival == "new"
            counters.duplicates += arrival == "duplicate"
            counters.late += arrival == "late"
        return message if arrival == "new" else None

    def _note(self, message: Control) -> Control:
        state = self._enter_epoch(message)
        if isinstance(message, Goodbye):
            state.ended = True
            for track, seq in message.last:
                if sequence := self._tracks.get((message.stream, track, message.epoch)):
                    lost = sequence.close(seq)
                    self.total.gaps += lost
                    state.counters.gaps += lost
        return message

    def _state(self, stream: str) -> StreamState:
        return recall(self.streams, stream, StreamState, STREAMS)

    def _enter_epoch(self, message: Message) -> StreamState:
        state = self._state(message.stream)
        if state.epoch != message.epoch:
            state.restarts += bool(state.epoch)
            state.epoch, state.ended = message.epoch, False
        return state

    def _count_invalid(self, frame: bytes) -> None:
        self.total.invalid += 1
        name = frame[4:69].partition(b"\0")[0].partition(b"/")[0].decode("ascii", "replace")
        if name in self.streams:
            self.streams[name].counters.invalid += 1
