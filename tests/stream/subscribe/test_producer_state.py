"""What a reader knows of a producer keeps its invariants, whatever comes in whatever order."""

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.subscribe.control_client import Asker
from stream.subscribe.heard import Clock
from stream.subscribe.producer_state import TRANSITIONS, Contact, Event, ProducerState, Start


class Client:
    """A control client, as far as the state looks at it."""

    def __init__(self, alive: bool = True) -> None:
        self.alive = alive


CLIENTS = [cast(Asker, Client()), cast(Asker, Client()), cast(Asker, Client(alive=False))]
WITH_CLIENT = {Contact.UNASKED, Contact.ASKED, Contact.REFUSED}


def test_the_table_covers_every_event() -> None:
    assert TRANSITIONS.keys() == set(Event)


@pytest.mark.parametrize(
    ("contact", "event", "then"),
    [
        (Contact.UNASKED, Event.SENT, Contact.ASKED),
        (Contact.ASKED, Event.UNANSWERED, Contact.UNASKED),
        (Contact.ASKED, Event.NEW_EPOCH, Contact.UNASKED),
        (Contact.REFUSED, Event.NEW_EPOCH, Contact.UNASKED),
        (Contact.ASKED, Event.REFUSAL, Contact.REFUSED),
        (Contact.NOBODY, Event.NEW_EPOCH, Contact.NOBODY),
        (Contact.UNTOLD, Event.NEW_EPOCH, Contact.UNTOLD),
        (Contact.REFUSED, Event.UNANSWERED, Contact.REFUSED),
        (Contact.NOBODY, Event.REFUSAL, Contact.NOBODY),
    ],
)
def test_transition(contact: Contact, event: Event, then: Contact) -> None:
    state = ProducerState(contact=contact)
    state.on(event)
    assert state.contact is then


STEPS = st.one_of(
    st.tuples(st.just("name"), st.sampled_from([*CLIENTS, None])),
    st.tuples(st.just("epoch"), st.binary(min_size=1, max_size=2)),
    st.tuples(st.just("event"), st.sampled_from([Event.SENT, Event.UNANSWERED, Event.REFUSAL])),
    st.tuples(st.just("listed"), st.none()),
)


@given(steps=st.lists(STEPS, max_size=30), resumed=st.booleans())
def test_invariants(steps: list[tuple[str, object]], resumed: bool) -> None:
    state = ProducerState()
    for what, value in steps:
        listed_before = state.listed
        if what == "name":
            state.name(cast(Asker | None, value))
        elif what == "epoch":
            state.enter_epoch(cast(bytes, value), resumed)
            assert not state.listed
            assert (state.start is Start.FOLLOWS_LISTED) == listed_before
        elif what == "event":
            state.on(cast(Event, value))
        elif state.epoch:
            state.listed = True
        assert (state.client is not None) == (state.contact in WITH_CLIENT)
        if state.contact is Contact.UNTOLD:
            assert state.should_hold(resumed) == resumed
        else:
            asked = state.contact in (Contact.UNASKED, Contact.ASKED)
            assert state.should_hold(resumed) == (asked and state.client is not None and state.client.alive)


def test_a_producer_that_is_named_again_is_not_asked_again() -> None:
    state = ProducerState()
    state.name(CLIENTS[0])
    state.on(Event.SENT)
    state.name(CLIENTS[0])
    after_the_same = state.contact
    state.name(CLIENTS[1])
    assert (after_the_same, state.contact) == (Contact.ASKED, Contact.UNASKED)


def test_the_best_reading_of_a_clock_is_kept_for_a_minute() -> None:
    state, second = ProducerState(), 10**9
    state.read_clock(Clock(offset=5, round_trip=100), 70 * second)
    state.read_clock(Clock(offset=6, round_trip=200), 80 * second)
    assert state.clock == Clock(5, 100)
    state.read_clock(Clock(offset=7, round_trip=90), 81 * second)
    assert state.clock == Clock(7, 90)
    state.read_clock(Clock(offset=8, round_trip=300), 142 * second)
    assert state.clock == Clock(8, 300)
