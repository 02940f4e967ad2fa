"""Asks producers for the packets that a reader misses: where it joins, after gaps, and at the end of each epoch.

What is known of each producer, and whether it can be asked, is the machine of `stream.subscribe.producer_state`. Here
are the requests that follow from it, in the order in which a reader makes them:

1. A status names the control socket: Ping (for its clock) and Snapshot (which tracks there are, up to which packet). A
   reader that goes on from an earlier epoch asks Info first, and a Snapshot of each epoch that ran since.
2. A track has a gap: Replay of the first range that is missing; one request a track at a time.
3. Every `LOOK_S`: Snapshot again, so that packets lost at the end of a track are found without a packet after them.

What always holds between two calls of `step`: no gap stays open for longer than `GIVE_UP_S` without a packet of it
coming (`GIVE_UP_CUT_S` during a silence), none stays open while nothing is to be held for its stream, and every
packet that was published and does not come is counted as lost or stale exactly once.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from stream.errors import WireError
from stream.subscribe.account import STREAMS, Key
from stream.subscribe.control_client import Asker, control_address
from stream.subscribe.heard import Clock, Heard
from stream.subscribe.producer_state import Contact, Event, ProducerState, Start
from stream.subscribe.reorder import TRACKS, Order, Track
from stream.wire.packets import LARGEST, Goodbye, Message, Packet, PacketError, Status, decode
from stream.wire.recent import recall
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

GIVE_UP_S = 5.0
"""Seconds that packets wait behind a gap of which no part comes, before the gap is given up."""

GIVE_UP_CUT_S = 20.0
"""The same while the producer is not heard at all: there is nothing new that waits, and the link may come back."""

WARM_UP = 16
"""Packets before the live edge by which a decoder is prepared, unless the last reset is nearer."""

GRACE_S = 0.5
"""Seconds for which a packet that was published may be on its way before it counts as missing."""

LOOK_S = 5.0
"""Seconds between two looks at whether the newest packets of every track have come."""

PROBE_S = 1.0
"""Seconds between two questions to a control socket that does not answer."""

NEAR = 1000
"""Packets: a reader that lacked no more at its last look is near enough to hear the stream itself again."""

CLIENTS = 16
"""Control sockets that are asked at once, the most recent ones."""


class Handling(NamedTuple):
    """What is to be done with a message.

    hold: a packet behind a gap waits. first: the seq with which its track begins, if it has not; None where that is not
    known. clock: how the producer's clock goes, if known.
    """

    hold: bool = False
    first: int | None = None
    clock: Clock | None = None


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
        self.clients: OrderedDict[str, Asker] = OrderedDict()
        self._order, self._connect, self._since = order, connect, dict(since)
        self._track, self._warm_up, self._max_lag = track, warm_up, max_lag
        self._resumed = {stream for stream, _, _ in since}
        self._security = security
        self._producers: OrderedDict[str, ProducerState] = OrderedDict()
        self._asking: set[Key] = set()
        self._ends: dict[Key, tuple[int, float]] = {}  # newest seq by a late look, and when to act on it
        self._looks_due: dict[str, int] | None = None  # by stream, while catching up
        self._found = 0  # packets that looks found missing

    def on_message(self, message: Message) -> Handling:
        """Note what a message tells of its producer, and tell how to handle it. Call it for every one."""
        stream = message.stream
        resumed = stream in self._resumed
        producer = recall(self._producers, stream, ProducerState, STREAMS)
        if isinstance(message, Status):
            producer.name(self._named(producer, message.control))
        elif isinstance(message, Packet):
            producer.hop_s = message.hop / message.fps
        if message.epoch != producer.epoch:
            producer.enter_epoch(message.epoch, resumed)
        if isinstance(message, Status) and producer.contact is Contact.UNASKED:
            producer.published = message.published
        if producer.contact is Contact.UNASKED and producer.client and producer.client.free:
            producer.client.ask(Ping(id=0, t=time.monotonic_ns()))
            catch_up = producer.start is not Start.LIVE and not producer.listed
            producer.client.ask(Info(id=0) if catch_up else self._snapshot(stream, producer))
            producer.on(Event.SENT)
        if isinstance(message, Goodbye):
            for track, last in message.last:
                self._end((stream, track, message.epoch), last, producer)
        first = None
        if isinstance(message, Packet) and producer.listed:  # all tracks that are not known began after we joined
            first = self._first((stream, message.track, message.epoch))
        return Handling(producer.should_hold(resumed), first, producer.clock)

    def clock(self, stream: str) -> Clock | None:
        """Return how a producer's clock goes, if known."""
        producer = self._producers.get(stream)
        return producer.clock if producer else None

    def client(self, stream: str) -> Asker | None:
        """Return the client of a stream's control socket, if it has one."""
        producer = self._producers.get(stream)
        return producer.client if producer else None

    def on_link_restored(self) -> None:
        """Note that the link has come back after a silence: ask all again over fresh links, and look what is new."""
        for client in self.clients.values():
            client.hope()
        for producer in self._producers.values():
            producer.look_due = 0.0

    def step(self, drained: bool, silent: bool) -> None:
        """Take answers, ask for what is missing, give up what does not come. Call it often.

        drained: all that has come was read. silent: nothing has come for a while.
        """
        for client in list(self.clients.values()):
            for request, reply in client.receive():
                self._on_reply(client, request, reply)
        if drained:
            self._note_ends()
        for key, track in list(self._order.open.items()):
            self._fill_gap(key, track, silent)
        if not silent:
            self._look()

    def catch_up(self) -> bool:
        """Find out what was published meanwhile and ask for it, while the stream itself is not heard.

        Call it after each `step`, until it says that next to nothing is missing any more.
        """
        heard_of = {name: each for name, each in self._producers.items() if self._holds(name)}
        if self._looks_due is None:
            self._looks_due, self._found = {name: each.looks + 1 for name, each in heard_of.items()}, 0
            for each in heard_of.values():
                each.look_due = 0.0
            return not heard_of
        due = self._looks_due
        if self._order.open or self._ends or any(each.looks < due.get(name, 0) for name, each in heard_of.items()):
            return False
        self._looks_due = None
        return self._found <= NEAR

    def close(self) -> None:
        """Close all links to control sockets. Idempotent."""
        for client in self.clients.values():
            client.close()

    def _named(self, producer: ProducerState, told: str) -> Asker | None:
        """Return the client of the control socket that a status names, None if it names none that can be asked."""
        address = control_address(self._connect, told)
        if address is None or (producer.client and producer.client.address == address):
            return producer.client if address else None
        if address not in self.clients:
            try:
                self.clients[address] = Asker(address, self._security)
            except WireError:  # such as port 99999
                return None
        self.clients.move_to_end(address)
        if len(self.clients) > CLIENTS:
            _, oldest = self.clients.popitem(last=False)
            for other in self._producers.values():
                if other.client is oldest:
                    other.name(None)
            oldest.close()
        return self.clients[address]

    def _snapshot(self, stream: str, producer: ProducerState) -> Snapshot:
        producer.look_due = time.monotonic() + LOOK_S
        at = None if producer.listed or producer.start is not Start.LIVE else producer.published
        return Snapshot(id=0, stream=stream, epoch=producer.epoch, track=self._track or 0, at=at)

    def _first(self, key: Key) -> int:
        """Return the seq of the first packet that is wanted of a track all of which is wanted."""
        return self._since.get(key, -1) + 1

    def _holds(self, stream: str) -> bool:
        producer = self._producers.get(stream)
        return producer is not None and producer.should_hold(stream in self._resumed)

    def _end(self, key: Key, last: int, producer: ProducerState) -> None:
        """Note what a goodbye tells of a track."""
        if self._track not in (None, key[1]):
            return
        if self._holds(key[0]):
            if producer.listed:
                self._order.join(key, self._first(key))
            self._order.expect(key, last)
        else:
            self._order.end(key, last)

    def _on_reply(self, client: Asker, request: Request, reply: Reply | None) -> None:
        """Take the answer to a request; None: it was given up."""
        if isinstance(request, Replay):
            key = (request.stream, request.track, request.epoch)
            self._asking.discard(key)
            if isinstance(reply, ReplayReply) and _fits(request, reply):
                self._on_replay(key, reply)
            elif reply is not None:  # a refusal: it knows nothing of them
                self._order.give_up(key, request.last)
        elif isinstance(request, Ping) and isinstance(reply, Pong):
            self._on_pong(client, request, reply)
        elif isinstance(request, Info):
            self._on_info(client, reply)
        elif isinstance(request, Snapshot):
            self._on_snapshot(request, reply)

    def _on_replay(self, key: Key, reply: ReplayReply) -> None:
        """Put the packets of a reply in order; those missing between them can no longer be had."""
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
        # A reply after which there is nothing to go on with is final.
        self._order.give_up(key, max(reply.next - 1, reply.first))

    def _on_pong(self, client: Asker, request: Ping, reply: Pong) -> None:
        now = time.monotonic_ns()
        clock = Clock(
            offset=((reply.received - request.t) + (reply.sent - now)) // 2,
            round_trip=(now - request.t) - (reply.sent - reply.received),
        )
        for producer in self._producers.values():
            if producer.client is client:
                producer.read_clock(clock, now)

    def _on_info(self, client: Asker, reply: Reply | None) -> None:
        """Ask for the ends of the epochs that ran since the one we know, and of the running one."""
        for stream, producer in self._producers.items():
            if producer.client is not client or producer.start is Start.LIVE or producer.listed:
                continue
            epochs: tuple[bytes, ...] = ()
            if isinstance(reply, InfoReply):
                epochs = next((about.epochs for about in reply.streams if about.stream == stream), ())
            known = {key[2] for key in (*self._order.keys(stream), *self._since) if key[0] == stream}
            known.discard(producer.epoch)
            first = next((index for index, epoch in enumerate(epochs) if epoch in known), 0)
            if producer.epoch in {epoch for _, _, epoch in self._since}:
                first = len(epochs)  # the running epoch is the one to go on with
            for epoch in epochs[first:]:
                if epoch != producer.epoch:
                    client.ask(Snapshot(id=0, stream=stream, epoch=epoch, track=self._track or 0))
            client.ask(self._snapshot(stream, producer))

    def _on_snapshot(self, request: Snapshot, reply: Reply | None) -> None:
        producer = self._producers.get(request.stream)
        if producer is None:
            return
        running = request.epoch == producer.epoch
        if not isinstance(reply, SnapshotReply) or (reply.stream, reply.epoch) != (request.stream, request.epoch):
            if running and reply is not None:
                producer.on(Event.REFUSAL)
            return
        late = running and producer.listed  # a look at tracks that have begun
        for track, last, reset in reply.tracks:
            key = (reply.stream, track, reply.epoch)
            if self._track not in (None, track):
                continue
            if late and len(self._ends) < TRACKS:
                self._ends.setdefault(key, (last, time.monotonic() + GRACE_S))
            elif not late and not self._order.forgetful:
                self._begin(key, last, reset, producer, running)
        following = max((track + 1 for track, _, _ in reply.tracks), default=0)
        # A reply that leads nowhere new ends the listing.
        goes_on = reply.more and request.track < following <= LARGEST
        if goes_on and self._track is None and not self._order.forgetful:
            if producer.client:
                producer.client.ask(msgspec.structs.replace(request, track=following))
            return
        producer.looks += running
        if running and not producer.listed:
            producer.listed = True
            for key in self._order.keys(reply.stream):
                if key[2] == reply.epoch:
                    self._order.begin(key, self._first(key))

    def _begin(self, key: Key, last: int, reset: int, producer: ProducerState, running: bool) -> None:
        """Let a track begin where the reader is, and ask for what it lacks up to `last`."""
        follows, warm = producer.start is not Start.LIVE, -1
        if key in self._since:
            first = self._first(key)
        elif follows and (running or producer.start is Start.FOLLOWS_LISTED or self._since):
            first = 0
        elif follows and not self._order.known(key):
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
            producer = self._producers.get(key[0])
            if producer and producer.epoch == key[2] and producer.listed:
                self._order.begin(key, self._first(key))
            if (track := self._order.known(key)) and track.sequence.joined:
                self._found += max(0, last - track.sequence.last)
                self._order.expect(key, last)

    def _fill_gap(self, key: Key, track: Track, silent: bool) -> None:
        """Ask for the first packets that a track lacks, or give up all that it lacks."""
        producer = self._producers.get(key[0])
        patience = GIVE_UP_CUT_S if silent else GIVE_UP_S
        if self._max_lag is not None:
            patience = min(patience, self._max_lag)
        if self._max_lag is None and producer and producer.client and not producer.client.free:
            track.since = time.monotonic()  # others are being asked for: its turn comes
        waited = time.monotonic() - track.since
        if producer is None or not self._holds(key[0]) or waited > patience:
            self._order.give_up(key, max([track.due, *track.held]))
        elif (gap := track.gap) and key not in self._asking and producer.client and producer.client.free:
            first, last = gap
            if self._max_lag is not None and producer.hop_s:
                worth = math.ceil(self._max_lag / producer.hop_s) + 1
                if last - first >= worth:
                    self._order.give_up(key, last - worth, stale=True)
                    first = last - worth + 1
            self._asking.add(key)
            self._order.open[key] = self._order.open.pop(key)  # next time the others come first
            producer.client.ask(Replay(id=0, stream=key[0], track=key[1], epoch=key[2], first=first, last=last))

    def _look(self) -> None:
        """Ask now and then where all tracks are, and whether a control socket that did not answer does so again."""
        now = time.monotonic()
        for stream, producer in self._producers.items():
            client = producer.client
            if client is None or now < producer.look_due:
                continue
            if producer.listed and client.alive:
                client.ask(self._snapshot(stream, producer))
            else:
                producer.look_due = now + PROBE_S
                if not client.alive:
                    producer.on(Event.UNANSWERED)
            if client.free:
                client.ask(Ping(id=0, t=time.monotonic_ns()))


def _fits(request: Replay, reply: ReplayReply) -> bool:
    """Whether a reply is about what was asked for."""
    asked = (request.stream, request.track, request.epoch, request.first)
    return asked == (reply.stream, reply.track, reply.epoch, reply.first) and reply.next <= request.last + 1
