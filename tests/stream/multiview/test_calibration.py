"""Calibrations in the three forms that people have, turned upright, and which camera took which video."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from stream.errors import SourceError
from stream.motion.projection import Camera
from stream.multiview.calibration import check_size, choose_cameras, read_calibration

EYES = {"left": (300, -150, -400), "right": (-300, -150, -400)}
CAMERAS = {name: Camera.aimed(name, eye, (0, -90, 0), 1000.0, (1280, 720)) for name, eye in EYES.items()}
POINTS = np.array([(0, -90, 0), (40, -170, 30), (-60, 0, 20)], np.float64)

Z_UP = np.array([(1, 0, 0), (0, 0, 1), (0, -1, 0)], np.float64)
"""From a room whose z points up to one whose y points down."""


def check(cameras: dict[str, Camera]) -> None:
    """The cameras see what `CAMERAS` see, up to where north is."""
    assert list(cameras) == list(CAMERAS)
    places = [(-camera.R.T @ camera.t) for camera in cameras.values()]
    assert np.linalg.norm(places[0] - places[1]) == pytest.approx(600, abs=0.1)
    assert [place[1] for place in places] == pytest.approx([-150, -150], abs=0.1)
    rays = [cam.R.T @ np.array((0, 0, 1.0)) for cam in cameras.values()]
    for place, ray in zip(places, rays, strict=True):
        assert (place + 504 * ray)[1] == pytest.approx(-90, abs=2)


def write(file: Path, entries: dict[str, object]) -> Path:
    storage = cv2.FileStorage(str(file), cv2.FILE_STORAGE_WRITE)
    for key, value in entries.items():
        if isinstance(value, dict):
            storage.startWriteStruct(key, cv2.FileNode_MAP)
            for inner, each in value.items():
                storage.write(inner, each)
            storage.endWriteStruct()
        else:
            storage.write(key, value)
    storage.release()
    return file


def test_panoptic(tmp_path: Path) -> None:
    entries = [
        {"name": c.name, "type": "hd", "resolution": c.size, "K": c.K.tolist(), "R": c.R.tolist(),
         "t": c.t[:, None].tolist(), "distCoef": [0, 0, 0, 0, 0]}
        for c in CAMERAS.values()
    ]  # fmt: skip
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps({"cameras": entries}), encoding="utf-8")
    cameras = read_calibration(file)
    check(cameras)
    for camera, expected in zip(cameras.values(), CAMERAS.values(), strict=True):
        np.testing.assert_allclose(camera.project(POINTS)[0], expected.project(POINTS)[0], atol=0.01)


@pytest.mark.parametrize("form", ["nested", "suffixes", "two files"])
@pytest.mark.parametrize("unit", ["m", "mm"])
def test_opencv(form: str, unit: str, tmp_path: Path) -> None:
    scale = {"m": 0.01, "mm": 10.0}[unit]
    extra: dict[str, object] = {} if unit == "m" else {"unit": unit}
    inner, outer = {}, {}
    for c in CAMERAS.values():
        R, t = c.R @ Z_UP, c.t * scale
        inner[c.name] = {"K": c.K, "dist": np.zeros((1, 5)), "W": 1280, "H": 720}
        outer[c.name] = {"R": cv2.Rodrigues(R)[0], "Rot": R, "T": t}
    suffixed = [
        {f"{key}_{name}": value for name, part in parts.items() for key, value in part.items()}
        for parts in (inner, outer)
    ]
    if form == "nested":
        file = write(tmp_path / "cameras.yml", {name: inner[name] | outer[name] for name in inner} | extra)
    elif form == "suffixes":
        file = write(tmp_path / "cameras.yaml", {"names": list(CAMERAS)} | suffixed[0] | suffixed[1] | extra)
    else:
        write(tmp_path / "intri.yml", {"names": list(CAMERAS)} | suffixed[0])
        file = write(tmp_path / "extri.yml", suffixed[1] | extra)
    cameras = read_calibration(file)
    check(cameras)
    assert [camera.size for camera in cameras.values()] == [(1280, 720)] * 2


def test_opencv_stereo(tmp_path: Path) -> None:
    one, two = CAMERAS.values()
    R = two.R @ one.R.T
    write(tmp_path / "intrinsics.yml", {"M1": one.K, "D1": np.zeros((1, 5)), "M2": two.K, "D2": np.zeros((1, 5))})
    file = write(tmp_path / "extrinsics.yml", {"R": R, "T": (two.t - R @ one.t) / 100})
    cameras = list(read_calibration(file).values())
    assert np.linalg.norm(cameras[0].R.T @ cameras[0].t - cameras[1].R.T @ cameras[1].t) == pytest.approx(600, abs=0.1)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"K_a": np.eye(3), "R_a": np.eye(3)}, "camera a has R or T, not both"),
        ({"R_a": np.eye(3), "T_a": np.zeros(3)}, "camera a lacks K"),
        ({"K_a": -np.eye(3)}, "camera a: the focal length in K is not positive"),
        ({"K_a": np.eye(2)}, "camera a: K is not 3 x 3 finite numbers"),
        ({"K_a": np.eye(3), "dist_a": np.ones(8)}, "8 distortion coefficients"),
        ({"K_a": np.eye(3), "unit": "ft"}, "unit 'ft': m, cm or mm"),
        ({"other": 3}, "describes no camera"),
    ],
)
def test_files_that_describe_no_cameras(entries: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=said):
        read_calibration(write(tmp_path / "x.yml", entries))


@pytest.mark.parametrize(
    "text", ["", "{", '{"cameras": 3}', "%YAML:1.0\n---\nK: [", "%YAML 1.2\n---\nK_a: !!opencv-matrix\n"]
)
def test_damaged_files_are_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "calibration"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=r"is not a calibration .*: give CMU Panoptic's JSON") as error:
        read_calibration(file)
    assert "\n" not in str(error.value)


def test_videos_find_their_cameras_by_name_or_by_order() -> None:
    def names(*refs: int | str) -> list[str]:
        return [camera.name for camera in choose_cameras(CAMERAS, refs, Path("cal.yml"))]

    assert names("a/right.mp4", "b/left.avi") == ["right", "left"]
    assert names("hd_right.mp4", "hd_left.mp4") == ["right", "left"]
    assert names(0, 1) == ["left", "right"]
    assert names("x.mp4", "y.mp4") == ["left", "right"]
    with pytest.raises(SourceError, match=r"cal.yml describes 2 cameras \(left, right\) for 3 sources"):
        names(0, 1, 2)


def test_a_picture_of_another_size_is_told() -> None:
    check_size(CAMERAS["left"], np.zeros((720, 1280, 3), np.uint8), "camera 0")
    with pytest.raises(SourceError, match="camera 0 is 640 x 360, but its camera is calibrated for 1280 x 720 px"):
        check_size(CAMERAS["left"], np.zeros((360, 640, 3), np.uint8), "camera 0")
