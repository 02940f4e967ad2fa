"""Packets come out in the order of their numbers, each once, and what is lacking is known exactly."""

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.subscribe.account import Account, Key, Lost
from stream.subscribe.heard import Heard
from stream.subscribe.reorder import HELD, TRACKS, Order
from stream.wire.packets import encode
from wire_samples import EPOCH, sample

KEY: Key = ("demo", 3, EPOCH)
FRAME = encode(sample())


def heard(seq: int, track: int = 3) -> Heard:
    return Heard(sample(seq=seq, track=track), FRAME, 0, 0)


def given_out(order: Order) -> list[int]:
    seqs = [each.packet.seq for each in order.ready]
    order.ready.clear()
    return seqs


def test_packets_behind_a_gap_wait_for_it() -> None:
    account = Account()
    order = Order(account)
    order.join(KEY, 5)
    for seq in (5, 8, 9, 7):
        order.arrive(heard(seq), hold=True)
    assert given_out(order) == [5]
    assert order.open[KEY].gap == (6, 6)
    order.fill(heard(6))
    assert given_out(order) == [6, 7, 8, 9]
    assert not order.open
    assert (account.total.repaired, account.total.gaps, order.held) == (1, 0, 0)


def test_what_is_given_up_is_lost_and_the_rest_goes_on() -> None:
    account = Account()
    order = Order(account)
    order.join(KEY, 0)
    for seq in (3, 5, 9):
        order.arrive(heard(seq), hold=True)
    order.give_up(KEY, 6)
    assert given_out(order) == [3, 5]
    assert account.lost == [Lost(*KEY, 0, 2), Lost(*KEY, 4, 4), Lost(*KEY, 6, 6)]
    assert order.open[KEY].gap == (7, 8)
    order.give_up(KEY, 8, stale=True)
    assert given_out(order) == [9]
    assert (account.total.gaps, account.total.stale) == (5, 2)


def test_a_late_packet_is_lost_no_longer() -> None:
    account = Account()
    order = Order(account)
    for seq in (1, 6, 3, 6, 20):
        order.arrive(heard(seq), hold=False)
    assert given_out(order) == [1, 6, 20]
    assert account.lost == [Lost(*KEY, 2, 2), Lost(*KEY, 4, 5), Lost(*KEY, 7, 19)]
    assert (account.total.gaps, account.total.late, account.total.duplicates) == (16, 1, 1)


def test_a_track_that_has_not_joined_waits_and_loses_nothing() -> None:
    order = Order(Account())
    order.arrive(heard(7), hold=True)
    order.arrive(heard(8), hold=True)
    assert given_out(order) == []
    order.join(KEY, 12)  # packets came by before the answer that says where we joined
    assert given_out(order) == [7, 8]
    assert order.open == {}
    order.expect(KEY, 10)
    assert order.open[KEY].gap == (9, 10)


def test_packets_that_only_warm_up_are_told_apart() -> None:
    order = Order(Account())
    order.join(KEY, 2, warm=3)
    order.expect(KEY, 3)
    order.arrive(heard(4), hold=True)
    order.fill(heard(2))
    order.fill(heard(3))
    assert [(each.packet.seq, each.warm) for each in order.ready] == [(2, True), (3, True), (4, False)]


def test_what_waits_is_bounded() -> None:
    account = Account()
    order = Order(account)
    order.join(KEY, 0)
    for seq in range(1, HELD + 2):
        order.arrive(heard(seq), hold=True)
    assert account.lost == [Lost(*KEY, 0, 0)]
    assert order.held == 0
    for track in range(TRACKS + 5):
        order.arrive(heard(9, track), hold=True)
    assert order.held == TRACKS
    assert order.forgetful


@settings(derandomize=True, max_examples=300)
@given(st.data())
def test_any_losses_and_any_order_end_whole_or_listed(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 40))
    everything = list(range(count))
    heard_live = data.draw(st.lists(st.sampled_from(everything), max_size=60))
    kept = data.draw(st.sets(st.sampled_from(everything)))
    account = Account()
    order = Order(account)
    order.join(KEY, 0)
    out: list[int] = []

    def repair() -> None:
        while KEY in order.open and (gap := order.open[KEY].gap):
            first, last = gap
            for seq in range(first, last + 1):
                if seq in kept:
                    order.fill(heard(seq))
                else:
                    order.give_up(KEY, seq)
        out.extend(given_out(order))

    for seq in heard_live:
        order.arrive(heard(seq), hold=True)
        if data.draw(st.booleans()):
            repair()
    order.expect(KEY, count - 1)
    repair()
    assert out == sorted(set(out))
    lost = {seq for _, _, _, first, last in account.lost for seq in range(first, last + 1)}
    # What came too late to be handed on is neither lost nor out: it was counted.
    assert set(out) | lost | set(heard_live) == set(everything)
    assert not set(out) & lost
    assert not lost & (kept | set(heard_live))
    assert account.total.gaps == len(lost)
    assert (order.held, order.open) == (0, {})
