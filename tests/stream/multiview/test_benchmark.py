"""The benchmark on the four cameras, and folders that do not fit."""

import json
import shutil
from pathlib import Path

import pytest

from commands import call
from stream import bench
from stream.errors import SourceError
from stream.multiview.benchmark import open_folder
from stream.multiview.calibration import read_calibration


@pytest.fixture
def scene(shared: Path, tmp_path: Path) -> Path:
    """The four cameras, to be changed."""
    folder = tmp_path / "scene"
    folder.mkdir()
    for file in (shared / "data/multiview").iterdir():
        (folder / file.name).symlink_to(file)
    return folder


def test_the_calibration_of_four_cameras(shared: Path) -> None:
    cameras = read_calibration(shared / "data/multiview/Calib.qca.txt")
    assert sorted(cameras) == ["cam01", "cam02", "cam03", "cam04"]
    for camera in cameras.values():
        assert camera.size == (1088, 1920)
        assert 1000 < camera.K[0, 0] < 3000
        place = -camera.R.T @ camera.t
        assert 100 < -place[1] < 300  # cm above the floor


@pytest.mark.slow
def test_cameras_agree_before_and_after_the_tokens(shared: Path, scene: Path, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    (scene / "cam04.mp4").unlink()
    assert call(bench, ["--multiview", str(scene), "--json", str(file), "--pose-model", str(model(shared))]) == 0
    figures = json.loads(file.read_text(encoding="utf-8"))
    found = {result["estimator"]: result for result in figures["estimators"]}
    assert list(found) == ["movenet", "movenet, 256 px", "movenet, 448 px", "mediapipe"]
    for name in ("movenet", "movenet, 448 px"):
        assert found[name]["matched"] >= 2
        assert found[name]["poses"]["mean"] < 5
        assert found[name]["poses"]["limbs"] < 2
        (decoded,) = found[name]["decoded"].values()
        assert found[name]["poses"]["mean"] < decoded["mean"] < 6
    for alone in figures["one camera"]:
        assert alone["share"] < 0.15  # of how far away: as people are not of one height
        assert alone["steady"] < 10
        assert alone["across"] < 8


def model(shared: Path) -> Path:
    return shared / "models/pose_landmarker_full.task"


def test_folders_that_do_not_fit(shared: Path, scene: Path, tmp_path: Path) -> None:
    assert len(open_folder(scene)[0]) == 4
    with pytest.raises(SourceError, match="is not a folder"):
        open_folder(tmp_path / "none")
    (scene / "cam01.mp4").unlink()
    shutil.copy(shared / "data/video/two_people_indoor.mp4", scene / "cam01.mp4")
    with pytest.raises(SourceError, match="is 1920 x 1080, but its camera is calibrated for 1088 x 1920 px"):
        open_folder(scene)
    for name in ("cam01.mp4", "cam02.mp4"):
        (scene / name).unlink()
    with pytest.raises(SourceError, match="holds 2 videos named after a camera"):
        open_folder(scene)
    (scene / "Calib.qca.txt").unlink()
    with pytest.raises(SourceError, match="holds 0 calibrations"):
        open_folder(scene)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no xml", "it is not XML"),
        ("<calibration/>", "describes no camera"),
        ("<calibration><camera serial='a'/></calibration>", "a camera lacks fov_video"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><calibration/>", "declares entities"),
    ],
)
def test_calibrations_that_are_none(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "x.qca.txt"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=said):
        read_calibration(file)
    with pytest.raises(SourceError, match="cannot read the calibration"):
        read_calibration(tmp_path / "none.qca.txt")
