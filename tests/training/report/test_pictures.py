"""Figures: every one is drawn, bodies stand upright in them, and videos play."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from motion_samples import Echo, people, sizes
from stream.motion.drawing import PAPER
from training.evaluation.roundtrip import Result, combined, run_clips
from training.evaluation.sets import Evaluation
from training.report import pictures as figures
from training.report import plots


@pytest.mark.parametrize("dims", [2, 3])
def test_all_figures_of_an_evaluation_are_drawn(dims: int, tmp_path: Path) -> None:
    of = sizes(dims)
    codec = Echo(8, off=0.02)
    result = run_clips(codec, people(3, 100), dims, 8)
    sets = {"a/set": Evaluation(result, []), "total": Evaluation(result, [])}
    files = figures.draw_evaluation(codec, sets, of, tmp_path / "drawn", run=tmp_path)
    assert {file.name for file in files} == {
        "a-set-strip.png", "a-set.mp4", "a-set-codebook.png", "a-set-joints.png", "total-codebook.png",
        "total-joints.png",
    }  # fmt: skip
    for file in files:
        if file.suffix == ".png":
            picture = cv2.imread(str(file))
            assert picture is not None
            assert min(picture.shape[:2]) > 200
            assert picture.std() > 10
    video = cv2.VideoCapture(str(tmp_path / "drawn" / "a-set.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 96
    assert video.get(cv2.CAP_PROP_FPS) == 30
    read, frame = video.read()
    assert read
    assert frame.shape[1] == 3 * (2 * figures.CELL + figures.EDGE)


def test_a_body_stands_upright_in_a_heatmap() -> None:
    (track,) = run_clips(Echo(8), people(1, 20), 2, 8).tracks
    nose, ankle = track.keypoints[0, 0], track.keypoints[0, 15]
    assert nose[1] < ankle[1]
    for joint, rows in ((nose, slice(0, 128)), (ankle, slice(128, 256))):
        only = np.zeros_like(track.keypoints[:1])
        only[0, 0] = joint
        picture = figures.heat(combined(only, 32, 1.0)[0, 0]).sum(axis=-1).astype(int)
        brightest = np.unravel_index(picture.argmax(), picture.shape)
        assert brightest[0] in range(256)[rows]
        assert brightest[0] / 256 == pytest.approx(joint[1], abs=0.03)
        assert brightest[1] / 256 == pytest.approx(joint[0], abs=0.03)


def test_a_difference_is_red_where_there_is_too_much_and_blue_where_too_little() -> None:
    there, nothing = np.ones((8, 8), np.float32), np.zeros((8, 8), np.float32)
    blue, _, red = figures.change(nothing, there)[0, 0]
    assert red > 150 > blue
    blue, _, red = figures.change(there, nothing)[0, 0]
    assert blue > 150 > red
    assert (figures.change(there, there) == PAPER).all()


def test_the_recording_of_middling_error_is_shown() -> None:
    codecs = [Echo(8, off) for off in (0.0, 0.03, 0.01, 0.02, 0.5)]
    lengths = (120, 120, 120, 120, 20)  # the last is too short to be shown
    tracks = [run_clips(c, people(1, n), 2, 8).tracks[0] for c, n in zip(codecs, lengths, strict=True)]
    assert figures.median_track(tracks) in (2, 3)
    assert figures.median_track(tracks[:3]) == 2


def test_several_tokenizers_are_drawn_below_each_other() -> None:
    tracks = [(run_clips(Echo(8, off), people(1, 60), 2, 8).tracks[0], sizes()) for off in (0.0, 0.1)]
    picture = figures.comparison(tracks, "a set")
    cell = figures.CELL + figures.EDGE
    assert picture.shape == (5 * cell + 4 * figures.HEADER, 8 * cell, 3)


def test_training_curves_come_from_the_runs_log(tmp_path: Path) -> None:
    assert plots.training_curves(tmp_path, tmp_path / "curves.png") is None
    lines: list[dict[str, object]]
    lines = [{"step": step, "joint": 1 / step, "codes": 100.0} for step in range(20, 200, 20)]
    lines.append({"step": 100, "unseen": {"a/set": {"joint_error_cm": 3.0}, "another": {"joint_error_cm": 2.0}}})
    text = "\n".join(json.dumps(line) for line in lines)
    (tmp_path / "log.jsonl").write_text(text + '\n{"step": 200, "joi', encoding="utf-8")  # cut off
    assert plots.training_curves(tmp_path, tmp_path / "curves.png") == tmp_path / "curves.png"
    picture = cv2.imread(str(tmp_path / "curves.png"))
    assert picture is not None
    assert picture.std() > 10


def test_an_error_is_written_at_its_joint(tmp_path: Path) -> None:
    written: list[str] = []
    annotate = Figure.savefig

    def noted(figure: Figure, *args: object, **how: object) -> None:
        written.extend(text.get_text() for axes in figure.axes for text in axes.texts)
        annotate(figure, *args, **how)  # type: ignore[arg-type]

    patch = pytest.MonkeyPatch()
    patch.setattr(Figure, "savefig", noted)
    try:
        (track,) = run_clips(Echo(8), people(1, 30), 2, 8).tracks
        track.decoded[:, 9, 0] += 7
        plots.body(Result([track]).tracks, sizes(), "a set", tmp_path / "body.png")
    finally:
        patch.undo()
    assert "l-wrist 7.0" in written
    assert "r-wrist 0.0" in written
    assert len(written) == 17
