"""Who is who: ids of people who cross, leave, come, and are seen twice."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import cast

import numpy as np
import pytest

from stream.errors import PoseModelError
from stream.pose.crop_tracker import GAP, MEMORY, PATIENCE, SEEK_EVERY, SEEK_TIME, CropTracker
from stream.pose.detection import pose_distance
from stream.sources.base import Frame
from vision_fakes import FakeFollower, Place, Play, body

SOON = SEEK_EVERY * 4 + SEEK_TIME + 1
"""Frames within which a newcomer is found: one round over the views of a wide image."""

Way = Callable[[float], Place | None]


def stands(x: float) -> Way:
    return lambda time: (x, 200)


def walks(x: float, speed: float) -> Way:
    """Speed in px a second."""
    return lambda time: (x + speed * time, 200)


def between(begin: float, end: float, way: Way) -> Way:
    return lambda time: way(time) if begin <= time < end else None


@pytest.fixture
def play() -> Iterator[Callable[..., Play]]:
    plays: list[Play] = []

    def start(people: dict[str, Way], max_persons: int = 2) -> Play:
        plays.append(Play(people, max_persons))
        return plays[-1]

    yield start
    for each in plays:
        each.tracker.close()
        assert each.stage.open_followers() == 0
        assert each.finder.closed


def of(play: Play, name: str) -> FakeFollower:
    """The follower that is on somebody."""
    visible = play.stage.visible(play.time - 1 / 30)[name]
    return next(
        follower
        for follower in play.stage.followers
        if not follower.closed and follower._last is not None and pose_distance(follower._last, visible) < 0.01
    )


def spares(scene: Play) -> list[FakeFollower]:
    """The followers that wait for somebody to come."""
    return [cast(FakeFollower, spare.result()) for spare in scene.tracker._spares]


class TestIds:
    def test_two_people_from_the_first_frame(self, play: Callable[..., Play]) -> None:
        scene = play({"anna": stands(300), "ben": walks(900, -60)})
        scene.go(60)
        names = scene.names()
        assert sorted(names) == [0, 1]
        for poses in scene.history:
            assert sorted(poses) == [0, 1]
        for back in range(1, 61):
            assert scene.names(back) == names
        assert scene.tracker.counts == {}

    @pytest.mark.parametrize("speed", [150, 400, 900])
    @pytest.mark.parametrize("front", ["anna", "ben"])
    def test_crossing(self, play: Callable[..., Play], speed: float, front: str) -> None:
        ways = {"anna": walks(1280 - speed * 1.5, speed), "ben": walks(1280 + speed * 1.2, -speed * 0.7)}
        back = "ben" if front == "anna" else "anna"
        scene = play({front: ways[front], back: ways[back]})
        scene.stage.shape = (1440, 2560)
        scene.go(36)
        before = scene.names()
        assert sorted(before.values()) == ["anna", "ben"]
        scene.go(48)
        assert scene.names() == before
        # The one in front is never lost, and nobody is ever taken for the other.
        in_front = next(id for id, name in before.items() if name == front)
        assert all(in_front in poses for poses in scene.history[36:])
        for frames in range(1, 48):
            assert scene.names(frames).items() <= before.items()

    def test_passing_behind_somebody_who_stands(self, play: Callable[..., Play]) -> None:
        scene = play({"anna": stands(640), "ben": walks(240, 200)})
        scene.go(30)
        before = scene.names()
        scene.go(30 + SOON)
        assert len(before) == 2
        assert scene.names() == before
        assert any(len(poses) == 1 for poses in scene.history)

    def test_leaving_and_coming_back_is_somebody_new(self, play: Callable[..., Play]) -> None:
        away = MEMORY + 1.0
        anna = stands(300)
        scene = play({"anna": lambda t: None if 1 <= t < 1 + away else anna(t), "ben": stands(900)})
        scene.go(30)
        assert sorted(scene.names().values()) == ["anna", "ben"]
        ben = next(id for id, name in scene.names().items() if name == "ben")
        scene.go(PATIENCE)
        assert list(scene.history[-1]) == [ben]
        made = list(scene.stage.followers)
        assert len(spares(scene)) == len(made) - 1
        scene.go(int(away * 30) + SOON)
        assert scene.names() == {ben: "ben", 2: "anna"}
        assert scene.stage.followers == made  # who comes takes over what the other left

    def test_coming_back_soon_is_the_same(self, play: Callable[..., Play]) -> None:
        anna = stands(300)
        scene = play({"anna": lambda t: None if 1 <= t < 1.5 else anna(t), "ben": stands(900)})
        scene.go(30)
        before = scene.names()
        scene.go(15 + SOON)
        assert scene.names() == before

    def test_newcomers_get_the_next_id(self, play: Callable[..., Play]) -> None:
        scene = play({"anna": stands(300), "ben": between(1, 9, stands(900)), "cleo": between(2, 9, stands(600))}, 3)
        scene.go(30)
        assert scene.names() == {0: "anna"}
        scene.go(30)
        assert scene.names() == {0: "anna", 1: "ben"}
        scene.go(30)
        assert scene.names() == {0: "anna", 1: "ben", 2: "cleo"}

    def test_no_more_than_wanted(self, play: Callable[..., Play]) -> None:
        scene = play({"anna": between(0, 1, stands(300)), "ben": stands(700), "cleo": stands(1000)})
        scene.go(29)
        assert all(len(poses) == 2 for poses in scene.history)
        followed = set(scene.names().values())
        scene.go(PATIENCE + SOON)
        assert all(len(poses) <= 2 for poses in scene.history)
        assert max(scene.history[-1]) == (2 if "anna" in followed else 1)
        assert set(scene.names().values()) == {"ben", "cleo"}

    def test_an_id_is_for_one_person_for_ever(self, play: Callable[..., Play]) -> None:
        """People come and go at random, but nobody comes where somebody left just before."""
        random = np.random.default_rng(5)
        people = {
            f"person {i}": between(begin, begin + random.uniform(0.5, 1.2), stands(130 + 250 * (i % 5)))
            for i, begin in enumerate(np.cumsum(random.uniform(0.7, 1.2, 30)))
        }
        scene = play(people, 3)
        owner: dict[int, set[str]] = {}
        begins: dict[int, int] = {}
        for frame in range(900):
            scene.go(1)
            for id, name in scene.names().items():
                owner.setdefault(id, set()).add(name)
                begins.setdefault(id, frame)
        assert len(owner) > 10
        assert all(len(names) == 1 for names in owner.values())
        assert list(begins) == sorted(begins)  # ids rise in the order of appearance


class TestDoubts:
    @pytest.mark.parametrize("leaper", ["anna", "ben"])
    def test_of_two_on_one_person_the_one_who_leapt_is_given_up(self, play: Callable[..., Play], leaper: str) -> None:
        ways = {"anna": walks(500, 20), "ben": stands(640)}
        victim = "ben" if leaper == "anna" else "anna"
        scene = play(ways)
        scene.go(30)
        before = {name: id for id, name in scene.names().items()}
        thief = of(scene, leaper)
        thief.leaps_to = victim
        for _ in range(PATIENCE):
            assert thief not in spares(scene)
            poses = scene.go(1)
            assert list(poses) == [before[victim]]  # from the first frame on, and never the victim
            assert scene.names()[before[victim]] == victim
        assert thief in spares(scene)
        thief.leaps_to = None
        scene.go(SOON)  # they are still there, and found again
        assert {name: id for id, name in scene.names().items()} == before

    def test_a_moment_of_doubt_costs_nothing(self, play: Callable[..., Play]) -> None:
        scene = play({"anna": stands(500), "ben": stands(640)})
        scene.go(30)
        before = scene.names()
        thief = of(scene, "anna")
        thief.leaps_to = "ben"
        scene.go(PATIENCE - 1)
        thief.leaps_to, thief._last = None, body((500, 200))
        scene.go(1)
        assert scene.names() == before
        assert thief not in spares(scene)

    def test_a_far_leap_is_not_believed(self, play: Callable[..., Play]) -> None:
        scene = play({"anna": stands(300), "cleo": stands(900)}, 1)
        scene.go(20)
        mine, other = scene.names()[0], {"anna": "cleo", "cleo": "anna"}[scene.names()[0]]
        of(scene, mine).leaps_to = other
        assert scene.go(1) == {}
        scene.go(PATIENCE + SOON)
        # Who was left gets the id back; it never passed to the other.
        for back in range(1, PATIENCE + SOON + 1):
            assert scene.names(back).get(0) in (None, mine)

    def test_blind_for_a_moment_keeps_the_id(self, play: Callable[..., Play]) -> None:
        scene = play({"anna": stands(300)})
        scene.go(10)
        follower = of(scene, "anna")
        follower.blind = True
        for _ in range(PATIENCE - 1):
            assert scene.go(1) == {}
        follower.blind = False
        assert list(scene.go(1)) == [0]
        assert follower not in spares(scene)

    def test_doubles_of_the_seeder_are_nobody(self, play: Callable[..., Play]) -> None:
        scene = play({"anna": stands(300), "ben": stands(800)}, 4)
        scene.finder.doubles = True
        scene.go(60)
        assert all(sorted(poses) == [0, 1] for poses in scene.history)

    def test_finds_that_nobody_confirms_cost_no_id(self, play: Callable[..., Play]) -> None:
        scene = play({"anna": between(1, 9, stands(300))})
        scene.finder.ghosts = [body((1000, 200))]
        scene.go(30)
        assert all(poses == {} for poses in scene.history)
        scene.go(SOON)
        assert scene.names() == {0: "anna"}
        assert len(scene.stage.followers) == 2  # spares are used again, not made anew for each ghost

    def test_a_landmarker_that_sees_somebody_elsewhere_confirms_nothing(self, play: Callable[..., Play]) -> None:
        scene = play({"anna": stands(300), "cleo": stands(900)})
        scene.finder.ghosts, scene.finder.only_ghosts = [body((300, 200))], True
        for spare in scene.tracker._spares:
            spare.result().leaps_to = "cleo"  # type: ignore[attr-defined]
        assert scene.go(10) == {}


class TestTime:
    def test_a_gap_begins_anew_with_the_same_people(self, play: Callable[..., Play]) -> None:
        scene = play({"anna": stands(300), "ben": stands(900)})
        scene.go(20)
        before = scene.names()
        made = len(scene.stage.followers)
        scene.pause += GAP
        scene.go(SOON)
        assert scene.names() == before
        # To close and make landmarkers takes as long as many frames: those at hand are used again.
        assert len(scene.stage.followers) == made
        assert scene.stage.open_followers() == made

    def test_another_image_size_begins_anew(self, play: Callable[..., Play]) -> None:
        scene = play({"anna": stands(300), "ben": stands(500)})
        scene.go(20)
        scene.stage.shape = (600, 800)
        scene.go(SOON)
        assert sorted(scene.names()) == [2, 3]

    def test_how_fast_the_seeder_is_changes_nothing(self, play: Callable[..., Play]) -> None:
        people = {"anna": stands(300), "ben": between(0.5, 3, stands(900)), "cleo": between(1, 9, stands(600))}
        fast, slow = play(people, 3), play(people, 3)
        jitter = np.random.default_rng(1)
        slow.finder.before = lambda: time.sleep(jitter.uniform(0, 0.01))
        fast.go(100)
        slow.go(100)
        assert [list(poses) for poses in fast.history] == [list(poses) for poses in slow.history]

    def test_what_comes_later_changes_nothing(self, play: Callable[..., Play]) -> None:
        people = {"anna": walks(200, 100), "ben": walks(900, -100)}
        short, long = play(people), play({**people, "cleo": between(2, 9, stands(600))})
        short.go(60)
        long.go(120)
        for one, other in zip(short.history, long.history, strict=False):
            assert one.keys() == other.keys()
            for id in one:
                np.testing.assert_array_equal(one[id].joints, other[id].joints)


class TestLife:
    def test_3d_gives_centimetres_around_the_hips(self) -> None:
        scene = Play({"anna": stands(300)})
        tracker = CropTracker(scene.stage.make_follower, scene.finder, 1, "3d")
        pose = tracker.track(Frame(scene.stage.image(0.0), 0.0, 0))[0]
        assert pose.joints.shape == (17, 3)
        np.testing.assert_allclose(pose.joints[11:13].mean(axis=0), 0, atol=1e-4)
        tracker.close()
        scene.tracker.close()

    def test_failures_are_counted(self, play: Callable[..., Play]) -> None:
        scene = play({"anna": between(0, 1, stands(300)), "ben": stands(900)})
        scene.go(20)
        of(scene, "anna").failures = 2
        of(scene, "ben").failures = 1
        assert scene.tracker.counts == {"landmarker failures": 3}
        scene.go(30)
        assert scene.tracker.counts == {"landmarker failures": 3}

    def test_close_from_another_thread_in_the_middle_of_work(self, play: Callable[..., Play]) -> None:
        scene = play({"anna": stands(300), "ben": stands(900)}, 3)
        scene.go(5)
        threads = [threading.Thread(target=scene.tracker.close) for _ in range(2)]
        for thread in threads:
            thread.start()
        scene.go(50)
        for thread in threads:
            thread.join()
        assert scene.go(1) == {}
        assert scene.stage.open_followers() == 0

    def test_a_model_that_cannot_be_loaded_is_an_error(self) -> None:
        def fail() -> FakeFollower:
            raise PoseModelError("no such model")

        scene = Play({"anna": stands(300)})
        tracker = CropTracker(fail, scene.finder, 2, "2d")
        with pytest.raises(PoseModelError):
            tracker.track(Frame(scene.stage.image(0.0), 0.0, 0))
        tracker.close()
        scene.tracker.close()
