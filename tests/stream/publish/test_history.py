"""The newest packets are held, the oldest go, whatever is published."""

import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.publish.history import TRACKS, History
from wire_samples import EPOCH, sample


def fill(history: History, tracks: list[int], size: int = 100) -> dict[int, list[int]]:
    """Add packets of these tracks, numbered as a publisher would; return the numbers by track."""
    numbers: dict[int, list[int]] = {}
    for track in tracks:
        seqs = numbers.setdefault(track, [])
        seqs.append(len(seqs))
        history.add(sample(track=track, seq=seqs[-1]), bytes([seqs[-1] % 256]) * size)
    return numbers


@settings(derandomize=True)
@given(st.lists(st.integers(0, 4), max_size=120), st.integers(1, 50), st.integers(0, 60), st.integers(0, 60))
def test_it_holds_the_newest_that_fit(tracks: list[int], room: int, first: int, span: int) -> None:
    history = History("demo", EPOCH, max_bytes=room * 100)
    numbers = fill(history, tracks)
    assert history.contents().packets == min(room, len(tracks))
    held = tracks[-room:]
    for track, seqs in numbers.items():
        there = seqs[-held.count(track) :] if track in held else []
        found = history.frames(track, 0, 2**63 - 1, 1000)
        assert [seq for seq, _ in found] == there
        assert all(frame == bytes([seq % 256]) * 100 for seq, frame in found)
        wanted = [seq for seq in there if first <= seq <= first + span]
        assert [seq for seq, _ in history.frames(track, first, first + span, 1000)] == wanted
        assert [seq for seq, _ in history.frames(track, first, first + span, 3)] == wanted[:3]
        assert history.last(track) == seqs[-1]
    assert history.frames(77, 0, 10, 10) == []
    assert history.last(77) is None


@settings(derandomize=True)
@given(st.lists(st.integers(0, 4), max_size=60), st.integers(0, 70))
def test_it_knows_how_things_were(tracks: list[int], at: int) -> None:
    history = History("demo", EPOCH)
    fill(history, tracks)
    before = tracks[:at]
    assert [(track, last) for track, last, _ in history.tracks(0, 100, at)] == [
        (track, before.count(track) - 1) for track in sorted(set(before))
    ]
    assert history.tracks(0, 100) == [(track, tracks.count(track) - 1, 0) for track in sorted(set(tracks))]
    assert history.tracks(2, 2) == [each for each in history.tracks(0, 100) if each[0] >= 2][:2]


def test_old_packets_go() -> None:
    history = History("demo", EPOCH, seconds=0.0)
    fill(history, [1] * 50)
    assert history.contents().packets <= 1
    assert history.last(1) == 49


def test_tracks_are_bounded() -> None:
    history = History("demo", EPOCH)
    fill(history, list(range(TRACKS + 50)))
    assert history.contents().tracks == TRACKS
    assert history.frames(3, 0, 10, 10) == []
    assert history.last(TRACKS + 49) == 0


def test_the_last_reset_is_known() -> None:
    history = History("demo", EPOCH)
    for seq, reset in enumerate([True, False, True, False]):
        history.add(sample(track=1, seq=seq, reset=reset), b"x")
    assert history.tracks(0, 10) == [(1, 3, 2)]


def test_readers_and_the_writer_do_not_disturb_each_other() -> None:
    history = History("demo", EPOCH, max_bytes=50_000)
    stop = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not stop.is_set():
            seqs = [seq for seq, _ in history.frames(0, 0, 2**62, 10_000)]
            if seqs != list(range(seqs[0], seqs[0] + len(seqs))) if seqs else False:
                wrong.append(seqs)
            history.tracks(0, 10, 3)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        fill(history, [0] * 5000)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    assert history.contents().packets == 500


def test_a_hole_of_any_width_is_no_work() -> None:
    history = History("demo", bytes(16))
    far = 2**63 - 2
    for seq in (0, 1, 10**9, far):
        history.add(sample(seq=seq, track=0), b"%d" % seq)
    assert history.frames(0, 0, far, 10) == [(seq, b"%d" % seq) for seq in (0, 1, 10**9, far)]
    assert history.frames(0, 2, far - 1, 10) == [(10**9, b"1000000000")]
    assert history.frames(0, 2, 10**9 - 1, 10) == []
