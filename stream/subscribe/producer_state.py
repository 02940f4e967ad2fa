"""What a reader knows of one stream's producer, as a machine: whom to ask, and where tracks begin.

`contact` says whether there is somebody to ask for packets:

    UNTOLD   no status has come yet, so nobody can be named
    NOBODY   the producer names no control socket that can be asked
    UNASKED  there is one, and nothing was asked of it in this epoch
    ASKED    it was asked which tracks there are; gaps are filled by it
    REFUSED  it answered that it does not know this stream or epoch

    event          from                to        caused by
    NAMED          any                 UNASKED   a status with a control socket that is new to us
    UNNAMED        any                 NOBODY    a status without one, or its client had to be closed
    NEW_EPOCH      ASKED, REFUSED      UNASKED   the first message of another epoch
    SENT           UNASKED             ASKED     we asked
    UNANSWERED     ASKED               UNASKED   a request was given up: ask everything again
    REFUSAL        UNASKED, ASKED      REFUSED   it refused to list the tracks of the running epoch

Any other pair of state and event changes nothing. `start` changes only with the epoch, in which `listed` becomes true
once.

What always holds:

1. There is a `client` in UNASKED, ASKED and REFUSED, and in no other state.
2. `listed` is about `epoch`: it is false after NEW_EPOCH, until all tracks of the new one are known.
3. `start` is FOLLOWS_LISTED only if the epoch before was listed.
4. Packets wait behind a gap in UNASKED and ASKED, while the client gets answers. In UNTOLD they wait if the reader goes
   on from an earlier run: its first packet may overtake the first status. In NOBODY and REFUSED nothing waits.
"""

from dataclasses import dataclass
from enum import Enum, auto

from stream.subscribe.control_client import Asker
from stream.subscribe.heard import Clock

CLOCK_S = 60.0
"""Seconds for which the best reading of a producer's clock stays better than a newer one that took longer."""


class Contact(Enum):
    """Whether there is somebody to ask."""

    UNTOLD = auto()
    NOBODY = auto()
    UNASKED = auto()
    ASKED = auto()
    REFUSED = auto()


class Event(Enum):
    """What changes the contact."""

    NAMED = auto()
    UNNAMED = auto()
    NEW_EPOCH = auto()
    SENT = auto()
    UNANSWERED = auto()
    REFUSAL = auto()


class Start(Enum):
    """Where the reader begins in an epoch.

    LIVE: with what is published from now on. FOLLOWS: it has packets of an earlier epoch, and goes on from them.
    FOLLOWS_LISTED: the same, and it knew every track of the epoch before, so it also knows whom it missed there.
    """

    LIVE = auto()
    FOLLOWS = auto()
    FOLLOWS_LISTED = auto()


TRANSITIONS: dict[Event, dict[Contact, Contact]] = {
    Event.NAMED: dict.fromkeys(Contact, Contact.UNASKED),
    Event.UNNAMED: dict.fromkeys(Contact, Contact.NOBODY),
    Event.NEW_EPOCH: dict.fromkeys((Contact.ASKED, Contact.REFUSED), Contact.UNASKED),
    Event.SENT: {Contact.UNASKED: Contact.ASKED},
    Event.UNANSWERED: {Contact.ASKED: Contact.UNASKED},
    Event.REFUSAL: dict.fromkeys((Contact.UNASKED, Contact.ASKED), Contact.REFUSED),
}
"""The table above."""


@dataclass(slots=True)
class ProducerState:
    """The state of one stream's producer; see the head of this file.

    published: packets of the epoch when we asked, so that its tracks begin there. hop_s: seconds that a packet spans.
    look_due: when to ask next where all tracks are, monotonic seconds. looks: how often that was answered. clock: how
    its clock goes, if known.
    """

    epoch: bytes = b""
    contact: Contact = Contact.UNTOLD
    client: Asker | None = None
    start: Start = Start.LIVE
    listed: bool = False
    published: int | None = None
    hop_s: float = 0.0
    look_due: float = 0.0
    looks: int = 0
    clock: Clock | None = None
    _clock_read: int = 0

    def on(self, event: Event) -> None:
        """Follow the table. For NAMED and UNNAMED use `name`, for NEW_EPOCH `enter_epoch`."""
        self.contact = TRANSITIONS[event].get(self.contact, self.contact)

    def name(self, client: Asker | None) -> None:
        """Note whom the producer's status names; None: nobody."""
        if client is None or client is not self.client:
            self.on(Event.UNNAMED if client is None else Event.NAMED)
        self.client = client

    def enter_epoch(self, epoch: bytes, resumed: bool) -> None:
        """Note that another epoch runs. resumed: the reader has packets of an earlier run of it."""
        if self.listed:
            self.start = Start.FOLLOWS_LISTED
        else:
            self.start = Start.FOLLOWS if self.epoch or resumed else Start.LIVE
        self.epoch, self.listed = epoch, False
        self.on(Event.NEW_EPOCH)

    def should_hold(self, resumed: bool) -> bool:
        """Whether packets behind a gap should wait. resumed: as `enter_epoch` has it."""
        if self.contact is Contact.UNTOLD:
            return resumed
        return self.contact in (Contact.UNASKED, Contact.ASKED) and self.client is not None and self.client.alive

    def read_clock(self, clock: Clock, now: int) -> None:
        """Take a reading of the producer's clock, made at `now` (monotonic ns), unless there is a better one."""
        old = now - self._clock_read > CLOCK_S * 1e9
        if self.clock is None or old or clock.round_trip <= self.clock.round_trip:
            self.clock, self._clock_read = clock, now
