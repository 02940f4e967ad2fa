"""Ids held against people.json: where each person's chest is, px, in 29 frames, by hand."""

import itertools
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from stream.pose.source import open_vision

TRUTH: dict[str, dict[str, dict[str, list[float]]]] = json.loads(
    Path(__file__).with_name("people.json").read_text(encoding="utf-8")
)

SHOULDERS = [5, 6]

NEAR = 110.0
"""px; somebody found further from a chest is not that person."""


@dataclass
class Score:
    """What went wrong: people not found, found where nobody is, ids that changed, and ids of two people."""

    missed: int = 0
    false: int = 0
    switched: int = 0
    ids: dict[str, list[int]] = field(default_factory=dict)


def score(video: Path, truth: dict[str, dict[str, list[float]]]) -> Score:
    result = Score()
    source = open_vision(str(video), "2d", rate="max", stop=threading.Event(), pose="movenet")
    for number, frame in enumerate(source):
        if str(number) not in truth:
            continue
        people = truth[str(number)]
        ids = list(frame.people)
        chests = np.array([frame.people[id].joints[SHOULDERS].mean(axis=0) for id in ids]).reshape(-1, 1, 2)
        distances = np.linalg.norm(chests - np.array(list(people.values())), axis=-1)
        pairs = [(i, j) for i, j in zip(*linear_sum_assignment(distances), strict=True) if distances[i, j] < NEAR]
        result.missed += len(people) - len(pairs)
        result.false += len(ids) - len(pairs)
        for i, j in pairs:
            result.ids.setdefault(list(people)[j], []).append(ids[i])
    for seen in result.ids.values():
        result.switched += sum(before != after for before, after in itertools.pairwise(seen))
    return result


@pytest.mark.slow
@pytest.mark.parametrize("video", TRUTH)
def test_nobody_gets_anothers_id(shared: Path, video: str) -> None:
    found = score(shared / video, TRUTH[video])
    assert (found.false, found.switched) == (0, 0), found
    everybody = [set(ids) for ids in found.ids.values()]
    assert sum(map(len, everybody)) == len(set().union(*everybody))
    expected = {"data/multiview/cam01.mp4": 5, "data/multiview/cam02.mp4": 2, "data/multiview/cam03.mp4": 2}
    # The bystander in the background, and a man whose back another covers.
    assert found.missed <= expected.get(video, 0), found
