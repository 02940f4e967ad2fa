"""The reader's end of the wire: connects, checks what comes, puts it in order and asks again for what did not."""

import math
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Self

from engine.session import Decoder, open_decoder
from stream.codec.decode import Motion, StreamDecoder
from stream.errors import SilenceError, TokenizerError
from stream.jetstream.address import check_reader, is_nats, parse_address, shown
from stream.subscribe.account import Account, Counters, Key, Lost, StreamState
from stream.subscribe.heard import Clock, Heard
from stream.subscribe.inlet import Inlet, SocketInlet
from stream.subscribe.opening import Opener
from stream.subscribe.reorder import Order
from stream.subscribe.repair import Handling, Repairer
from stream.wire.packets import (
    Goodbye,
    Message,
    Packet,
    PacketError,
    Status,
    check_stream_name,
    control_topic,
    decode_message,
    packet_topic,
)
from stream.wire.security import OPEN, Security

__all__ = ["Clock", "Counters", "Heard", "Lost", "StreamState", "TokenStream"]

PREPARATION = 1.0
"""Seconds for which a reader that decodes waits to hear with what, before it asks for packets all the same."""

POLL = 1.0
"""Seconds for which iteration waits at a time."""

BEAT = 0.1
"""Seconds between two looks at what is missing and at the link."""


class TokenStream:
    """Reads packets of tokens; iterate over it, or `poll` for control messages too.

    connect: the producer's address, or where packets are kept for many: nats://... (docs/nats.md). stream, track: hear
    only these. Reconnects by itself for as long as it is open.

    once: iteration ends when the producers of all streams heard have said goodbye, else it goes on with the next run.
    timeout: seconds of silence after which iteration raises SilenceError, or ends if all had said goodbye; None to wait
    for ever.

    repair: ask the producer again for what is missing, so that every packet of a track comes once and in order, or
    stands in `lost`. Packets wait only behind a gap, and only for seconds. What went before joining is nobody's loss,
    unless `since` tells which packet of each track was the last that the reader has: then all after them come first,
    also those of other tracks, and of later epochs if the producer keeps a log. max_lag: seconds after which a packet
    is stale and left out, for readers that want to be fresh. decode: find the joints of every packet, with the
    tokenizer that made it (shipped, or fetched from the producer) or `tokenizer`, a name or directory, opened
    before packets are asked for, so that the first of them need not wait for it.

    security: the keys to present. For use from one thread. Raises WireError for a malformed address, SecurityError,
    ValueError for other bad arguments; decoding, `poll` raises TokenizerError, after which reading may go on. While a
    tokenizer is fetched and opened `poll` waits no longer than it is told to, and nothing is read.

        with TokenStream("tcp://127.0.0.1:5555") as stream:
            for packet in stream:
                print(packet.stream, packet.track, packet.ids())
    """

    def __init__(
        self,
        connect: str,
        stream: str | None = None,
        track: int | None = None,
        repair: bool = True,
        max_lag: float | None = None,
        decode: bool = False,
        since: Mapping[Key, int] | None = None,
        tokenizer: str | None = None,
        security: Security = OPEN,
        once: bool = False,
        timeout: float | None = None,
    ) -> None:
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout {timeout}: seconds above 0, or None to wait for ever")
        if stream is not None:
            check_stream_name(stream)
        if max_lag is not None and not max_lag > 0:
            raise ValueError(f"max_lag {max_lag}: seconds above 0")
        check_reader(connect, decode)
        self._track, self._max_lag = track, max_lag
        self._once, self._timeout, self._address = once, timeout, shown(connect)
        self.heard_at: float | None = None
        """When the last valid message came, on the monotonic clock; None before the first."""
        self._account = Account()
        self._order = Order(self._account)
        for key, seq in (since or {}).items():
            self._order.join(key, seq + 1)
        self._farewells: dict[str, Heard] = {}
        self._quickest: dict[bytes, int] = {}
        self._decoder = StreamDecoder(open_decoder, tokenizer) if decode else None
        if self._decoder:
            self._decoder.prepare()
        self._opener = Opener(self._decoder, security) if self._decoder else None
        self._inlet = _open_inlet(connect, stream, security)
        self._repairer = (
            Repairer(self._order, connect, since or {}, track, decode, max_lag, security)
            if repair and not is_nats(connect)  # where nothing is missing
            else None
        )
        # Packets last: a producer that waits for their subscription then knows that it has all of them.
        self._inlet.subscribe(b"ctl/" if stream is None else control_topic(stream))
        self._packet_topic = b"tok/"
        if stream is not None:
            self._packet_topic = f"tok/{stream}/".encode() if track is None else packet_topic(stream, track)
        self._subscribed = False
        self._subscribe_by = time.monotonic() + PREPARATION
        if self._decoder is None or tokenizer is not None:
            self._subscribe()

    @property
    def total(self) -> Counters:
        """What became of the packets of all streams."""
        return self._account.total

    @property
    def streams(self) -> OrderedDict[str, StreamState]:
        """What is known of each stream, by name."""
        return self._account.streams

    @property
    def lost(self) -> list[Lost]:
        """Exactly which packets were lost, by track."""
        return self._account.lost

    @property
    def reconnects(self) -> int:
        """How often a dead link was taken up anew."""
        return self._inlet.reconnects

    @property
    def waiting(self) -> int:
        """How many packets have come and wait for earlier ones, or to be handed on."""
        return self._order.held + len(self._order.ready)

    @property
    def ended(self) -> bool:
        """True when something was heard and the producer of every stream heard has said goodbye for good."""
        states = self.streams.values()
        return bool(states) and all(state.ended for state in states) and not self._order.ready

    @property
    def opening(self) -> bool:
        """True while a tokenizer is being fetched or opened, for which packets wait."""
        return self._opener is not None and self._opener.busy

    @property
    def decoders(self) -> Mapping[str, Decoder]:
        """What decodes the packets of the tokenizers met last, by their labels."""
        return self._decoder.decoders if self._decoder else {}

    def clock(self, stream: str) -> Clock | None:
        """Return how the clock of a stream's producer goes, if it has a control socket to ask."""
        return self._repairer.clock(stream) if self._repairer else None

    def poll(self, timeout: float) -> Heard | None:
        """Return the next message that is valid and in order, None if none comes within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            if self._opener and not self._opener.finish(deadline):
                return None
            if (heard := self._next(deadline)) is not None:
                return heard
            if self._order.ready:  # waits for its decoder, or is the rest of what warms one up
                if time.monotonic() > deadline:
                    return None
                continue
            parts = self._inlet.take()
            if parts:
                self._accept(parts)
            self._tend(drained=not parts)
            left = deadline - time.monotonic()
            if self._order.ready:
                continue
            if left <= 0:
                return None
            if not parts:
                self._wait(min(left, BEAT))

    def motions(self) -> Iterator[tuple[Packet, Motion]]:
        """Yield packets and their joints, as iteration yields packets. For a stream that decodes."""
        if self._decoder is None:
            raise ValueError("open the stream with decode=True to get joints")
        return ((heard.packet, heard.motion) for heard in self._heard() if heard.motion)

    def close(self) -> None:
        """Close the sockets. Safe to call twice."""
        if self._opener:
            self._opener.close()
        if self._repairer:
            self._repairer.close()
        self._inlet.close()

    def __iter__(self) -> Iterator[Packet]:
        """Yield packets for as long as the caller wants them, across restarts of the producer unless `once` is set.

        Raises SilenceError after `timeout` seconds without a message.
        """
        return (heard.packet for heard in self._heard())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _heard(self) -> Iterator[Heard]:
        """Yield packets as they were heard, until iteration is to end."""
        patience = math.inf if self._timeout is None else self._timeout
        began = time.monotonic()
        while not (self._once and self.ended):
            heard = self.poll(min(patience, POLL))
            if heard and isinstance(heard.message, Packet):
                yield heard
            elif self.opening:
                began = time.monotonic()
            elif heard is None and time.monotonic() - max(began, self.heard_at or began) >= patience:
                if self.ended:
                    return
                raise SilenceError(
                    f"nothing heard from {self._address} for {patience:g} s: is the producer running, and is this its "
                    "--bind address?"
                )

    def _accept(self, parts: list[bytes]) -> None:
        wall, monotonic = time.time_ns(), time.monotonic_ns()
        frame = parts[0]
        try:
            if len(parts) > 1:  # no producer of ours sends such messages
                raise PacketError(f"{len(parts)} frames in one message")
            message = decode_message(frame)
        except PacketError:
            self._count_invalid(frame)
            return
        self.heard_at = monotonic / 1e9
        restored = self._inlet.on_message(message.interval if isinstance(message, Status) else None)
        if restored and self._repairer:
            self._repairer.on_link_restored()
        if isinstance(message, Packet) and self._track not in (None, message.track):
            return
        self._enter_epoch(message)
        handling = self._repairer.on_message(message) if self._repairer else Handling()
        if isinstance(message, Status) and not self._subscribed:
            self._prepare(message)
        heard = Heard(message, frame, wall, monotonic, clock=handling.clock)
        if isinstance(message, Packet) and self._inlet.shares:
            self._order.ready.append(heard)
        elif isinstance(message, Packet):
            self._order.arrive(heard, handling.hold, handling.first)
        elif isinstance(message, Goodbye):
            self._farewells[message.stream] = heard
            if not self._repairer:
                for track, last in message.last:
                    self._order.end((message.stream, track, message.epoch), last)
        else:
            self._order.ready.append(heard)

    def _prepare(self, status: Status) -> None:
        """Open the decoder, then ask for packets: none of them has to wait for it."""
        if self._opener and status.tokenizer:
            self._opener.begin(status.tokenizer, self._control(status.stream))
        self._subscribe_by = 0.0

    def _subscribe(self) -> None:
        self._inlet.subscribe(self._packet_topic)
        self._subscribed = True

    def _tend(self, drained: bool) -> None:
        if not self._subscribed and not self.opening and time.monotonic() > self._subscribe_by:
            self._subscribe()
        # A reader that was too slow hears the stream again once it has caught up by asking.
        away = self._inlet.away
        if drained:
            self._inlet.mend()
        if self._repairer:
            self._repairer.step(drained, self._inlet.silent and not away)
        if away and drained and (self._repairer is None or self._repairer.catch_up()):
            self._inlet.reopen()
        for stream in [name for name in self._farewells if not self._order.lacks(name)]:
            self._order.ready.append(self._farewells.pop(stream))

    def _wait(self, seconds: float) -> None:
        clients = self._repairer.clients.values() if self._repairer else ()
        self._inlet.wait(seconds, [client.socket for client in clients])

    def _next(self, deadline: float) -> Heard | None:
        """Return the next message that is to be handed to the reader, None if there is none now."""
        while self._order.ready:
            heard = self._order.ready.popleft()
            message = heard.message
            if isinstance(message, Goodbye):
                state = self._account.stream(message.stream)
                state.ended = state.epoch == message.epoch and not message.more
            if not isinstance(message, Packet):
                return heard
            if not heard.warm and self._is_stale(heard):
                self._account.count(message.stream, "stale")
                continue
            try:
                if self._opener and self._opener.must_wait(message, self._control(message.stream)):
                    self._order.ready.appendleft(heard)
                    return None
                motion = self._decoder.decode(message) if self._decoder else None
            except (PacketError, TokenizerError) as error:
                self._account.count(message.stream, "invalid")
                if isinstance(error, PacketError):
                    continue
                raise
            if not heard.warm:
                self._account.count(message.stream, "received")
                return heard._replace(motion=motion)
            if time.monotonic() > deadline:  # the others in the next call
                return None
        return None

    def _control(self, stream: str) -> str | None:
        """Return the address of a stream's control socket, if it has one."""
        client = self._repairer.client(stream) if self._repairer else None
        return client.address if client else None

    def _is_stale(self, heard: Heard) -> bool:
        """Whether a packet is older now than the reader wants.

        Between machines whose clocks cannot be compared, a packet's age is how much longer it took than the quickest.
        """
        if self._max_lag is None:
            return False
        lag = heard.latency_ms
        since = time.monotonic_ns() - heard.monotonic
        if lag is None:
            took = heard.monotonic - heard.packet.t
            quickest = min(took, self._quickest.get(heard.packet.epoch, took))
            self._quickest = {heard.packet.epoch: quickest}
            lag = (took - quickest) / 1e6
        return lag + since / 1e6 > self._max_lag * 1000

    def _enter_epoch(self, message: Message) -> None:
        state = self._account.stream(message.stream)
        if state.epoch != message.epoch:
            state.restarts += bool(state.epoch)
            state.epoch, state.ended = message.epoch, False

    def _count_invalid(self, frame: bytes) -> None:
        self.total.invalid += 1
        name = frame[4:69].partition(b"\0")[0].partition(b"/")[0].decode("ascii", "replace")
        if name in self.streams:
            self.streams[name].counters.invalid += 1


def _open_inlet(connect: str, stream: str | None, security: Security) -> Inlet:
    if not is_nats(connect):
        return SocketInlet(connect, security)
    from stream.jetstream.inlet import JetStreamInlet  # only there: it needs an extra

    return JetStreamInlet(parse_address(connect, "reader"), stream)
