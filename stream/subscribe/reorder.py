"""Puts the packets of each track in order, and holds back those that came after a gap while it is being repaired."""

import heapq
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from stream.subscribe.account import Account, Key
from stream.subscribe.heard import Heard
from stream.subscribe.sequence import WINDOW, Sequence

TRACKS = 4096
"""How many tracks are remembered, the most recent ones."""

HELD = 10_000
"""Packets that wait behind gaps at most; beyond them the gaps are given up."""


@dataclass(slots=True)
class Track:
    """One track on its way to the reader.

    held: packets behind a gap, by seq. due: the newest seq that is known to be published, -1 if none is. since: when
    the gap was found or last grew smaller, monotonic seconds. warm: packets up to this seq only prepare a decoder.
    filled: packets that were asked for; should they come by themselves as well, that is no duplicate.
    """

    sequence: Sequence = field(default_factory=Sequence)
    held: dict[int, Heard] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)  # a heap of the numbers in `held`
    due: int = -1
    since: float = 0.0
    reached: int = -1  # the newest number handed on at `since`
    warm: int = -1
    filled: set[int] = field(default_factory=set)

    @property
    def gap(self) -> tuple[int, int] | None:
        """The first range of packets that is lacking."""
        last = self.waiting[0] - 1 if self.waiting else self.due
        return (self.sequence.last + 1, last) if self.sequence.joined and last > self.sequence.last else None


class Order:
    """Takes packets as they come and gives them, by `ready`, in the order of their numbers.

    Tracks that wait for something are in `open`: for `join` to say where they begin, or for a gap to be closed, by
    packets or by `give_up`. Every track in `open` that the caller does not tend waits for ever.
    """

    def __init__(self, account: Account) -> None:
        self.ready: deque[Heard] = deque()
        self.open: dict[Key, Track] = {}
        self.forgetful = False
        """Whether a track was forgotten, because there were too many."""
        self._account = account
        self._tracks: OrderedDict[Key, Track] = OrderedDict()
        self.held = 0
        """Packets that wait behind gaps."""

    def known(self, key: Key) -> Track | None:
        """Return a track if something was heard or told of it."""
        return self._tracks.get(key)

    def keys(self, stream: str) -> Iterator[Key]:
        """Yield the tracks of a stream."""
        return (key for key in list(self._tracks) if key[0] == stream)

    def arrive(self, heard: Heard, hold: bool, first: int | None = None) -> None:
        """Take a packet that came; with `hold`, one after a gap or of a track that has not joined waits.

        first: where its track begins, if it has not joined and that is known. Where tracks were forgotten it may be one
        of them: it begins, or goes on, with this packet.
        """
        key, seq = heard.key, heard.packet.seq
        if first is not None:
            self.join(key, seq if self.forgetful else first)
        track = self._track(key)
        sequence = track.sequence
        if seq in track.filled:
            track.filled.remove(seq)
        elif seq in track.held:
            self._account.count(key[0], "duplicates")
        elif hold and (not sequence.joined or seq > sequence.last + 1):
            self._hold(key, track, heard)
        elif not sequence.joined or seq > sequence.last:
            if sequence.joined:
                self.give_up(key, seq - 1)
            sequence.take(seq)
            self._hand_on(track, heard)
            self._advance(key, track)
        else:
            arrival, change = sequence.take(seq)
            self._account.count(key[0], "duplicates" if arrival == "duplicate" else "late")
            if change:
                self._account.find(key, seq)

    def fill(self, heard: Heard) -> None:
        """Take a packet that was asked for; one that has come meanwhile counts for nothing."""
        track = self.known(heard.key)
        if track and heard.packet.seq > track.sequence.last and heard.packet.seq not in track.held:
            self._account.count(heard.packet.stream, "repaired", heard.packet.seq > track.warm)
            self.arrive(heard, hold=True)
            if len(track.filled) >= WINDOW:
                track.filled.clear()
            track.filled.add(heard.packet.seq)

    def join(self, key: Key, first: int, warm: int = -1) -> None:
        """Let a track that has not joined begin with `first`, or before if a packet before has come already."""
        track = self._track(key)
        if not track.sequence.joined:
            track.sequence.join(min([first, *track.waiting[:1]]))
            track.warm = warm
            self._advance(key, track)

    def begin(self, key: Key, first: int) -> None:
        """Let a track that began after the reader joined begin with `first`.

        Where tracks were forgotten it may be one of them: it goes on with the first packet that waits, if one does.
        """
        track = self.known(key)
        if not self.forgetful:
            self.join(key, first)
        elif track and track.waiting:
            self.join(key, track.waiting[0])

    def expect(self, key: Key, last: int) -> None:
        """Note that a track that has joined was published up to `last`."""
        track = self._track(key)
        track.due = max(track.due, last)
        self._advance(key, track)

    def give_up(self, key: Key, last: int, stale: bool = False) -> None:
        """Let the packets up to `last` that have not come be lost, or `stale`; those that have are handed on."""
        track = self._track(key)
        sequence = track.sequence
        if not sequence.joined and track.waiting:
            sequence.join(track.waiting[0])
        while sequence.joined and sequence.last < last:
            self._advance(key, track)
            end = min([last, *(seq - 1 for seq in track.waiting[:1])])
            if end > sequence.last:
                if stale:
                    self._account.count(key[0], "stale", end - sequence.last)
                else:
                    self._account.lose(key, sequence.last + 1, end)
                sequence.close(end)
        self._advance(key, track)

    def end(self, key: Key, last: int) -> None:
        """Let all be lost that has not come of a track up to its last packet, if the track has joined."""
        if (track := self.known(key)) and track.sequence.joined:
            self.give_up(key, last)

    def lacks(self, stream: str) -> bool:
        """Whether a track of the stream waits for something."""
        return any(key[0] == stream for key in self.open)

    def _track(self, key: Key) -> Track:
        if key not in self._tracks:
            while len(self._tracks) >= TRACKS:
                oldest = next(iter(self._tracks))
                self._let_go(oldest)
                del self._tracks[oldest]
                self.open.pop(oldest, None)
                self.forgetful = True
            self._tracks[key] = Track()
        self._tracks.move_to_end(key)
        return self._tracks[key]

    def _hold(self, key: Key, track: Track, heard: Heard) -> None:
        track.held[heard.packet.seq] = heard
        heapq.heappush(track.waiting, heard.packet.seq)
        self.held += 1
        self._advance(key, track)
        if self.held > HELD:
            self._let_go(key)

    def _let_go(self, key: Key) -> None:
        """Hand on whatever is held of a track."""
        if waiting := self._tracks[key].waiting:
            self.give_up(key, max(waiting))

    def _advance(self, key: Key, track: Track) -> None:
        """Hand on what no longer waits, and note whether something is lacking still."""
        while track.sequence.joined and track.waiting and track.waiting[0] == track.sequence.last + 1:
            heard = track.held.pop(heapq.heappop(track.waiting))
            self.held -= 1
            track.sequence.take(heard.packet.seq)
            self._hand_on(track, heard)
        if track.gap or (track.waiting and not track.sequence.joined):
            if key not in self.open or track.sequence.last > track.reached:
                track.since, track.reached = time.monotonic(), track.sequence.last
            self.open[key] = track
        else:
            self.open.pop(key, None)

    def _hand_on(self, track: Track, heard: Heard) -> None:
        self.ready.append(heard._replace(warm=heard.packet.seq <= track.warm))
