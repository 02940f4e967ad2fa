"""The pipeline against fakes that remember: hops, gaps, resets, newcomers, and nothing ahead."""

from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.session import Encoded, Encoder, State
from engine.spec import TokenizerSpec
from stream.codec.encode import Hop, Pipeline
from stream.codec.framing import TOGETHER
from stream.motion.clock import MAX_HOLD
from stream.motion.skeleton import J, Pose
from stream.sources.base import PoseFrame

HOP = 8

SPEC = TokenizerSpec(
    name="fake",
    kind="heatmap",
    skeleton="coco17",
    dims=2,
    grid=16,
    sigma=1.0,
    hop=HOP,
    window=HOP,
    causal=True,
    fps=30.0,
    strides=(8, 8, 8),
    vocabulary=1000,
    token_grid=(1, 1, 2, 2),
    input="keypoints",
    encoder_states={"count": (1,)},
    decoder_states={},
    weights_hash="0" * 64,
)


class CountingEncoder(Encoder):
    """Its first token is how many hops this person's state has seen; the second, how many frames had joints."""

    def __init__(self, spec: TokenizerSpec = SPEC) -> None:
        self.spec = spec
        self.batches: list[int] = []
        self.inputs: list[NDArray[np.float32]] = []

    def init_state(self, batch: int) -> State:
        return {"count": np.zeros((batch, 1), np.float32)}

    def step(
        self, x: NDArray[np.float32], reset: NDArray[np.bool_], state: State, **added: NDArray[np.float32]
    ) -> tuple[Encoded, State]:
        assert x.shape[1:] == self.spec.input_shape
        self.batches.append(len(x))
        self.inputs.append(x.copy())
        count = np.where(reset[:, None], 0, state["count"]) + 1
        tokens = np.zeros((len(x), 1, 1, 2, 2), np.int32)
        tokens[:, 0, 0, 0, 0] = count[:, 0]
        tokens[:, 0, 0, 0, 1] = (x.reshape(len(x), -1) != 0).any(axis=1)
        return Encoded(tokens, np.zeros((len(x), 1, 1, 2, 2, 1), np.float32)), {"count": count.astype(np.float32)}


def body(track: int, frame: int) -> Pose:
    rng = np.random.default_rng(track)
    joints = rng.normal(0, 60, (J, 2)) + np.array([500 + 3 * frame, 400 + 100 * track])
    return Pose(joints.astype(np.float32), np.ones(J, np.float32))


def frames(presence: Mapping[int, Iterable[int]], count: int) -> list[PoseFrame]:
    """People by track and the frames in which they are there."""
    there = {track: set(which) for track, which in presence.items()}
    return [
        PoseFrame({track: body(track, n) for track in there if n in there[track]}, n / 30, 1000 + n)
        for n in range(count)
    ]


def run(pipeline: Pipeline, shots: list[PoseFrame]) -> list[Hop]:
    return [hop for shot in shots for hop in pipeline.push(shot)]


def test_one_person_gives_one_hop_every_eight_frames_as_soon_as_it_is_whole() -> None:
    pipeline = Pipeline(CountingEncoder())
    hops = []
    for n, shot in enumerate(frames({0: range(40)}, 40)):
        new = pipeline.push(shot)
        assert len(new) == (n % HOP == HOP - 1)
        hops += new
    assert [hop.frame for hop in hops] == [0, 8, 16, 24, 32]
    assert [hop.captured_ns for hop in hops] == [1007, 1015, 1023, 1031, 1039]
    assert [hop.reset for hop in hops] == [True, False, False, False, False]
    assert [int(hop.ids[0, 0, 0, 0]) for hop in hops] == [1, 2, 3, 4, 5]
    assert all(hop.observed == 0xFF for hop in hops)
    assert pipeline.flush() == []


def test_a_longer_recording_never_changes_earlier_hops() -> None:
    shots = frames({0: range(100), 1: range(13, 70), 2: [*range(20, 35), *range(60, 100)]}, 100)
    whole = run(Pipeline(CountingEncoder()), shots)
    for cut in (9, 31, 64, 99):
        part = run(Pipeline(CountingEncoder()), shots[:cut])
        assert part
        for a, b in zip(part, whole, strict=False):
            assert (a.track, a.frame, a.box, a.observed, a.reset) == (b.track, b.frame, b.box, b.observed, b.reset)
            np.testing.assert_array_equal(a.ids, b.ids)


def test_a_short_absence_is_held_and_marked() -> None:
    hops = run(Pipeline(CountingEncoder()), frames({0: [*range(4), *range(7, 24)], 1: range(24)}, 24))
    first = next(hop for hop in hops if hop.track == 0)
    assert first.observed == 0b10001111
    assert [hop.reset for hop in hops if hop.track == 0] == [True, False, False]


def test_a_slow_source_gives_whole_hops_without_resets_and_marks_what_it_saw() -> None:
    """At 3 frames a second there are hops in which nothing was seen, and people are there all the same."""
    shots = [PoseFrame({0: body(0, 10 * n)}, n / 3, n) for n in range(24)]
    hops = run(Pipeline(CountingEncoder()), shots)[3:]  # it takes two intervals to know the source
    assert [hop.reset for hop in hops] == [False] * len(hops)
    assert [hop.frame for hop in hops] == list(range(hops[0].frame, hops[-1].frame + 1, HOP))
    seen = "".join(f"{hop.observed:08b}"[::-1] for hop in hops)
    assert set(seen.strip("0").split("1")[1:-1]) == {"0" * 9}
    assert any(hop.observed == 0 for hop in hops)


def test_a_long_absence_ends_the_stream_and_the_return_is_reset() -> None:
    back = 10 + MAX_HOLD + 5
    hops = run(Pipeline(CountingEncoder()), frames({0: [*range(10), *range(back, 39)]}, 39))
    assert [hop.frame for hop in hops] == [0, 8, back, back + 8]
    assert hops[1].observed == 0b11
    assert [hop.reset for hop in hops] == [True, False, True, False]
    assert int(hops[2].ids[0, 0, 0, 0]) == 1


def test_a_jump_of_the_clock_completes_the_hop_in_hand_and_resets() -> None:
    shots = frames({0: range(30)}, 30)
    late = [PoseFrame(s.people, s.time + (2.0 if n >= 11 else 0), s.captured_ns) for n, s in enumerate(shots)]
    hops = run(Pipeline(CountingEncoder()), late)
    assert [hop.frame for hop in hops] == [0, 8, 71, 79]
    assert [hop.observed for hop in hops] == [0xFF, 0b111, 0xFF, 0xFF]
    assert [hop.reset for hop in hops] == [True, False, True, False]
    assert hops[1].captured_ns == 1010


def test_the_end_completes_the_hops_in_hand() -> None:
    pipeline = Pipeline(CountingEncoder())
    assert len(run(pipeline, frames({0: range(11), 1: range(9, 11)}, 11))) == 1
    last = pipeline.flush()
    assert sorted((hop.track, hop.frame, hop.observed) for hop in last) == [(0, 8, 0b111), (1, 9, 0b11)]
    assert pipeline.people == 0
    assert pipeline.flush() == []


def test_hops_of_many_people_are_spread_over_the_ticks() -> None:
    encoder = CountingEncoder()
    people = 16
    hops = run(Pipeline(encoder), frames({track: range(200) for track in range(people)}, 200))
    assert max(encoder.batches) == TOGETHER
    assert {hop.track for hop in hops} == set(range(people))
    # Only the very first frames of those who had to wait for a quiet tick are missing.
    for track in range(people):
        mine = [hop.frame for hop in hops if hop.track == track]
        assert mine[0] < HOP
        assert mine == list(range(mine[0], mine[0] + HOP * len(mine), HOP))
        assert 200 - mine[-1] - HOP < HOP


def test_a_newcomer_to_a_busy_tick_loses_nothing() -> None:
    pipeline = Pipeline(CountingEncoder())
    presence = {track: range(80) for track in range(TOGETHER)} | {9: range(16, 80)}
    hops = [hop for hop in run(pipeline, frames(presence, 80)) if hop.track == 9]
    assert hops[0].frame == 16 - 7
    assert hops[0].observed == 0b10000000
    seen = [hop.frame + i for hop in hops for i in range(HOP) if hop.observed >> i & 1]
    assert seen == list(range(16, seen[-1] + 1))


@pytest.mark.parametrize("last", [14, 15, 16, 17])
def test_who_leaves_on_the_edge_of_a_hop_leaves_no_empty_hop(last: int) -> None:
    hops = run(Pipeline(CountingEncoder()), frames({0: range(last), 1: range(60)}, 60))
    mine = [hop for hop in hops if hop.track == 0]
    assert all(hop.observed for hop in mine)
    assert mine[-1].frame == (last - 1) // HOP * HOP


def test_hops_of_those_who_return_to_a_crowd_never_overlap() -> None:
    away = MAX_HOLD + 3
    presence = {track: [*range(140), *range(140 + away, 220)] for track in range(8)}
    hops = run(Pipeline(CountingEncoder()), frames(presence, 220))
    for track in range(8):
        starts = [hop.frame for hop in hops if hop.track == track]
        assert min(np.diff(starts)) >= HOP


def test_unseen_joints_and_the_box() -> None:
    encoder = CountingEncoder()
    shots = frames({0: range(8)}, 8)
    for shot in shots:
        shot.people[0].confidence[9] = 0.1
        shot.people[0].joints[9] = 1e6
    (hop,) = run(Pipeline(encoder), shots)
    keypoints = encoder.inputs[0][0]
    assert (keypoints[:, 9] == 0).all()
    assert (keypoints[:, :9, 2] == 1).all()
    back = (keypoints[..., :2] - 0.5) * hop.box[2] + np.array(hop.box[:2])
    joints = np.stack([shot.people[0].joints for shot in shots])
    np.testing.assert_allclose(back[:, :9], joints[:, :9], atol=0.01)


def test_keyframes_reset_at_their_interval() -> None:
    hops = run(Pipeline(CountingEncoder(), keyframe=3), frames({0: range(72)}, 72))
    assert [hop.reset for hop in hops] == [True, False, False] * 3


@pytest.mark.parametrize("window", [8, 24])
def test_heatmaps_are_drawn_where_the_tokenizer_wants_them(window: int) -> None:
    import msgspec

    encoder = CountingEncoder(msgspec.structs.replace(SPEC, input="heatmaps", window=window, causal=window == HOP))
    run(Pipeline(encoder), frames({0: range(24)}, 24))
    first, last = encoder.inputs[0][0], encoder.inputs[-1][0]
    assert first.shape == (J, window, 16, 16)
    assert (first[:, : window - HOP] == 0).all()
    assert (last[:, -HOP:].max(axis=(2, 3)) > 0.75).all()
    assert (last[:, :HOP].max(axis=(2, 3)) > 0.75).mean() > 0.8  # some are outside the present box
