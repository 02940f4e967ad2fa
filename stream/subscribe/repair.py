"""Asks producers for the packets that a reader misses: where it joins, after gaps, and at the end of each epoch."""

import math
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from stream.codec.recent import recall
from stream.errors import WireError
from stream.subscribe.account import STREAMS, Key
from stream.subscribe.control_client import Asker, control_address
from stream.subscribe.heard import Clock, Heard
from stream.subscribe.reorder import TRACKS, Order, Track
from stream.wire.packets import LARGEST, Goodbye, Message, Packet, PacketError, Status, decode
from stream.wire.requests import (
    Info,
    InfoReply,
    Ping,
    Pong,
    Replay,
    ReplayReply,
    Reply,
    Request,
    Snapshot,
    SnapshotReply,
)
from stream.wire.security import OPEN, Security

PATIENCE = 5.0
"""Seconds that packets wait behind a gap of which no part comes, before the gap is given up."""

PATIENCE_CUT = 20.0
"""The same while the producer is not heard at all: there is nothing new that waits, and the link may come back."""

WARM_UP = 16
"""Packets before the live edge by which a decoder is prepared, unless the last reset is nearer."""

GRACE = 0.5
"""Seconds for which a packet that was published may be on its way before it counts as missing."""

LOOK = 5.0
"""Seconds between two looks at whether the newest packets of every track have come."""

PROBE = 1.0
"""Seconds between two questions to a control socket that does not answer."""

CLOCK = 60.0
"""Seconds for which the best reading of a producer's clock stays better than a newer one that took longer."""

ASKERS = 16
"""Control sockets that are asked at once, the most recent ones."""


@dataclass(slots=True)
class _Source:
    """What is known of one stream's producer.

    whole: every track of the epoch is known, those that began before we joined and those after. behind: we heard or
    have packets of an earlier epoch or run, and go on from there. refused: the control socket knows no such stream.
    told: a status was heard. at: after how many packets we joined. hop: seconds that a packet spans.
    """

    epoch: bytes = b""
    told: bool = False
    asker: Asker | None = None
    asked: bool = False
    whole: bool = False
    behind: bool = False
    was_whole: bool = False
    refused: bool = False
    at: int | None = None
    hop: float = 0.0
    look_due: float = 0.0
    clock: Clock | None = None
    clock_read: int = 0


class Repairer:
    """Fills an `Order` with what is missing.

    connect: the address of the stream; the status tells where its control socket is. since: the newest seq that the
    reader has of each track, after which it wants all. track: the only one that is wanted. warm_up: ask for packets
    to prepare a decoder with. max_lag: seconds after which packets are not worth asking for.
    """

    def __init__(
        self,
        order: Order,
        connect: str,
        since: Mapping[Key, int],
        track: int | None,
        warm_up: bool,
        max_lag: float | None,
        security: Security = OPEN,
    ) -> None:
        self.askers: OrderedDict[str, Asker] = OrderedDict()
        self._order, self._connect, self._since = order, connect, dict(since)
        self._track, self._warm_up, self._max_lag = track, warm_up, max_lag
        self._resumed = {stream for stream, _, _ in since}
        self._security = security
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._asking: set[Key] = set()
        self._ends: dict[Key, tuple[int, float]] = {}  # newest seq by a late look, and when to act on it

    def hear(self, message: Message) -> None:
        """Note what a message tells of its producer. Call it for every one, before the packet goes into the order."""
        source = recall(self._sources, message.stream, _Source, STREAMS)
        if isinstance(message, Status):
            source.told = True
            self._locate(source, message.control)
            if not source.asked or message.epoch != source.epoch:
                source.at = message.published
        elif isinstance(message, Packet):
            source.hop = message.hop / message.fps
        if message.epoch != source.epoch:
            source.behind = bool(source.epoch) or message.stream in self._resumed
            source.epoch, source.asked, source.refused = message.epoch, False, False
            source.was_whole, source.whole = source.whole, False
        if source.asker and not source.asked and source.asker.free:
            source.asked = True
            source.asker.ask(Ping(id=0, t=time.monotonic_ns()))
            self._ask(source, Info(id=0) if source.behind else self._snapshot(message.stream, source))
        if isinstance(message, Goodbye):
            for track, last in message.last:
                self._end((message.stream, track, message.epoch), last, source)
        elif isinstance(message, Packet) and source.whole:
            # The track is one of those that began after we joined, unless it has joined.
            self._begin((message.stream, message.track, message.epoch), source, message.seq)

    def holds(self, stream: str) -> bool:
        """Whether packets behind a gap should wait: there is somebody to ask for those before.

        A reader that goes on from earlier waits for the first status to tell who: a packet may overtake it.
        """
        source = self._sources.get(stream)
        if source is not None and not source.told:
            return stream in self._resumed
        return source is not None and source.asker is not None and source.asker.alive and not source.refused

    def clock(self, stream: str) -> Clock | None:
        """Return how a producer's clock goes, if known."""
        source = self._sources.get(stream)
        return source.clock if source else None

    def asker(self, stream: str) -> Asker | None:
        """Return who asks the control socket of a stream, if it has one."""
        source = self._sources.get(stream)
        return source.asker if source else None

    def hope(self) -> None:
        """Note that the link has come back after a silence: ask all again over fresh links, and look what is new."""
        for asker in self.askers.values():
            asker.hope()
        for source in self._sources.values():
            source.look_due = 0.0

    def tend(self, drained: bool, silent: bool) -> None:
        """Take answers, ask for what is missing, give up what does not come. Call it often.

        drained: all that has come was read. silent: nothing has come for a while.
        """
        for asker in list(self.askers.values()):
            for request, reply in asker.receive():
                self._answer(asker, request, reply)
        if drained:
            self._note_ends()
        for key, track in list(self._order.open.items()):
            self._mend(key, track, silent)
        if not silent:
            self._look()

    def close(self) -> None:
        """Close all links to control sockets. Safe to call twice."""
        for asker in self.askers.values():
            asker.close()

    def _locate(self, source: _Source, told: str) -> None:
        address = control_address(self._connect, told)
        if address is None:
            source.asker = None
        elif source.asker is None or source.asker.address != address:
            source.asker, source.asked = self._asker(address), False

    def _asker(self, address: str) -> Asker | None:
        if address not in self.askers:
            try:
                self.askers[address] = Asker(address, self._security)
            except WireError:  # such as port 99999
                return None
        self.askers.move_to_end(address)
        if len(self.askers) > ASKERS:
            _, oldest = self.askers.popitem(last=False)
            for source in self._sources.values():
                if source.asker is oldest:
                    source.asker = None
            oldest.close()
        return self.askers[address]

    def _ask(self, source: _Source, request: Request) -> None:
        if source.asker:
            source.asker.ask(request)

    def _snapshot(self, stream: str, source: _Source) -> Snapshot:
        source.look_due = time.monotonic() + LOOK
        at = None if source.whole or source.behind else source.at
        return Snapshot(id=0, stream=stream, epoch=source.epoch, track=self._track or 0, at=at)

    def _begin(self, key: Key, source: _Source, seen: int | None = None) -> None:
        """Let a track begin with its first packet, if all that began before we joined are known.

        Where some were forgotten it may be one of them: it begins, or goes on, with the packet that was `seen`.
        """
        if source.whole and not self._order.forgetful:
            self._order.join(key, self._since.get(key, -1) + 1)
        elif source.whole and seen is not None:
            self._order.join(key, seen)

    def _end(self, key: Key, last: int, source: _Source) -> None:
        """Note what a goodbye tells of a track."""
        if self._track not in (None, key[1]):
            return
        if self.holds(key[0]):
            self._begin(key, source)
            self._order.expect(key, last)
        else:
            self._order.end(key, last)

    def _answer(self, asker: Asker, request: Request, reply: Reply | None) -> None:
        if isinstance(request, Replay):
            key = (request.stream, request.track, request.epoch)
            self._asking.discard(key)
            if isinstance(reply, ReplayReply) and _fits(request, reply):
                self._fill(key, reply)
            elif reply is not None:  # a refusal: it knows nothing of them
                self._order.give_up(key, request.last)
        elif isinstance(request, Ping) and isinstance(reply, Pong):
            self._note_clock(asker, request, reply)
        elif isinstance(request, Info):
            self._catch_up(asker, reply)
        elif isinstance(request, Snapshot):
            self._take_snapshot(request, reply)

    def _fill(self, key: Key, reply: ReplayReply) -> None:
        """Put the packets of a reply in order; what it lacks between them can no longer be had."""
        wall, monotonic = time.time_ns(), time.monotonic_ns()
        for frame in reply.frames:
            try:
                packet = decode(frame)
            except PacketError:
                continue
            heard = Heard(packet, frame, wall, monotonic, repaired=True, clock=self.clock(key[0]))
            if heard.key == key and reply.first <= packet.seq < reply.next:
                self._order.give_up(key, packet.seq - 1)
                self._order.fill(heard)
        # Whoever answers that it has nothing to go on with never will.
        self._order.give_up(key, max(reply.next - 1, reply.first))

    def _note_clock(self, asker: Asker, request: Ping, reply: Pong) -> None:
        now = time.monotonic_ns()
        clock = Clock(
            offset=((reply.received - request.t) + (reply.sent - now)) // 2,
            round_trip=(now - request.t) - (reply.sent - reply.received),
        )
        for source in self._sources.values():
            if source.asker is not asker:
                continue
            old = now - source.clock_read > CLOCK * 1e9
            if source.clock is None or old or clock.round_trip <= source.clock.round_trip:
                source.clock, source.clock_read = clock, now

    def _catch_up(self, asker: Asker, reply: Reply | None) -> None:
        """Ask for the ends of the epochs that ran since the one we know, and of the running one."""
        for stream, source in self._sources.items():
            if source.asker is not asker or not source.behind or source.whole:
                continue
            epochs: tuple[bytes, ...] = ()
            if isinstance(reply, InfoReply):
                epochs = next((about.epochs for about in reply.streams if about.stream == stream), ())
            known = {key[2] for key in (*self._order.keys(stream), *self._since) if key[0] == stream}
            known.discard(source.epoch)
            first = next((index for index, epoch in enumerate(epochs) if epoch in known), 0)
            if source.epoch in {epoch for _, _, epoch in self._since}:
                first = len(epochs)  # the running epoch is the one to go on with
            for epoch in epochs[first:]:
                if epoch != source.epoch:
                    asker.ask(Snapshot(id=0, stream=stream, epoch=epoch, track=self._track or 0))
            asker.ask(self._snapshot(stream, source))

    def _take_snapshot(self, request: Snapshot, reply: Reply | None) -> None:
        source = self._sources.get(request.stream)
        if source is None:
            return
        running = request.epoch == source.epoch
        if not isinstance(reply, SnapshotReply) or (reply.stream, reply.epoch) != (request.stream, request.epoch):
            source.refused |= running and reply is not None
            return
        for track, last, reset in reply.tracks:
            key = (reply.stream, track, reply.epoch)
            if self._track not in (None, track):
                continue
            if running and source.whole and len(self._ends) < TRACKS:
                self._ends.setdefault(key, (last, time.monotonic() + GRACE))
            elif not (running and source.whole) and not self._order.forgetful:
                self._join(key, last, reset, source, running)
        following = max((track + 1 for track, _, _ in reply.tracks), default=0)
        # A reply that leads nowhere new ends the listing.
        goes_on = reply.more and request.track < following <= LARGEST
        if goes_on and self._track is None and not self._order.forgetful:
            self._ask(source, msgspec.structs.replace(request, track=following))
        elif running and not source.whole:
            source.whole = True
            for key in self._order.keys(reply.stream):
                if key[2] == reply.epoch and (known := self._order.known(key)):
                    self._begin(key, source, next(iter(known.waiting), None))

    def _join(self, key: Key, last: int, reset: int, source: _Source, running: bool) -> None:
        """Let a track begin where the reader is, and ask for what it lacks up to `last`."""
        known = self._order.known(key)
        warm = -1
        if key in self._since:
            first = self._since[key] + 1
        elif source.behind and (running or source.was_whole or self._since):
            first = 0
        elif source.behind and not known:
            return  # of an epoch in which we did not know who had been there before
        elif self._warm_up:
            first, warm = min(max(reset, last - WARM_UP + 1, 0), last + 1), last
        else:
            first = last + 1
        self._order.join(key, first, warm)
        self._order.expect(key, last)

    def _note_ends(self) -> None:
        now = time.monotonic()
        for key, (last, due) in list(self._ends.items()):
            if now < due:
                continue
            del self._ends[key]
            if (source := self._sources.get(key[0])) and source.epoch == key[2]:
                self._begin(key, source)
            if (track := self._order.known(key)) and track.sequence.joined:
                self._order.expect(key, last)

    def _mend(self, key: Key, track: Track, silent: bool) -> None:
        source = self._sources.get(key[0])
        waited = time.monotonic() - track.since
        patience = PATIENCE_CUT if silent else PATIENCE
        if self._max_lag is not None:
            patience = min(patience, self._max_lag)
        if source is None or not self.holds(key[0]) or waited > patience:
            self._order.give_up(key, max([track.due, *track.held]))
        elif (gap := track.gap) and key not in self._asking and source.asker and source.asker.free:
            first, last = gap
            if self._max_lag is not None and source.hop:
                worth = math.ceil(self._max_lag / source.hop) + 1
                if last - first >= worth:
                    self._order.give_up(key, last - worth, stale=True)
                    first = last - worth + 1
            self._asking.add(key)
            source.asker.ask(Replay(id=0, stream=key[0], track=key[1], epoch=key[2], first=first, last=last))

    def _look(self) -> None:
        """Ask now and then where all tracks are, and whether somebody who did not answer is there again."""
        now = time.monotonic()
        for stream, source in self._sources.items():
            if source.asker is None or now < source.look_due:
                continue
            if source.whole and source.asker.alive:
                source.asker.ask(self._snapshot(stream, source))
            else:
                source.look_due = now + PROBE
                source.asked = source.asked and source.asker.alive
            if source.asker.free:
                source.asker.ask(Ping(id=0, t=time.monotonic_ns()))


def _fits(request: Replay, reply: ReplayReply) -> bool:
    """Whether a reply is about what was asked for."""
    asked = (request.stream, request.track, request.epoch, request.first)
    return asked == (reply.stream, reply.track, reply.epoch, reply.first) and reply.next <= request.last + 1
