"""Calibrations of several cameras: which file is in which form, which camera took which pictures, which way is down."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.errors import SourceError
from stream.motion.calibration import read_panoptic
from stream.motion.projection import Camera
from stream.multiview.opencv_yaml import is_opencv_yaml, read_opencv
from stream.multiview.qualisys import read_qualisys

FORMS = "CMU Panoptic's JSON, Qualisys' .qca.txt or OpenCV's YAML"

LARGEST = 4 << 20
"""Bytes; a calibration of a hundred cameras is a hundredth of it."""

INTRINSICS_BESIDE = {"extri": "intri", "extrinsics": "intrinsics"}
"""Files of which one is given and the other stands beside it, by name."""

LEVEL = 0.8
"""Cosine of the angle (37 degrees) within which the cameras' mean down is taken for an axis of the world."""


def read_calibration(path: Path) -> dict[str, Camera]:
    """Return the cameras of a file by name; world coordinates in cm, y down.

    Raises SourceError when it cannot be read or is not a calibration.
    """
    try:
        cameras = _read(path)
        if not cameras:
            raise ValueError("it describes no camera")
    except OSError as error:
        raise SourceError(f"cannot read the calibration {path}: {error.strerror}") from error
    except ValueError as error:
        raise SourceError(f"{path} is not a calibration ({error}): give {FORMS}") from error
    turn = _upright(cameras)
    upright = [Camera(c.name, c.K, c.R @ turn.T, c.t, c.distortion, c.size) for c in cameras]
    return {camera.name: camera for camera in upright}


def choose_cameras(cameras: dict[str, Camera], refs: Sequence[int | str], path: Path) -> list[Camera]:
    """Return the camera that took each of `refs`: a video is named after it (`cam01.mp4`, `hd_00_03.mp4`), or else
    there are as many as cameras and they come in the order of the calibration. Raises SourceError.
    """
    stems = [Path(ref).stem if isinstance(ref, str) else "" for ref in refs]
    named = [[name for name in cameras if stem == name or stem.endswith(f"_{name}")] for stem in stems]
    if all(len(names) == 1 for names in named) and len({names[0] for names in named}) == len(refs):
        return [cameras[names[0]] for names in named]
    if len(refs) == len(cameras):
        return list(cameras.values())
    some = ", ".join(list(cameras)[:8]) + (", ..." if len(cameras) > 8 else "")
    raise SourceError(
        f"{path} describes {len(cameras)} cameras ({some}) for {len(refs)} sources: name each video after its camera, "
        "or give all cameras in that order"
    )


def check_size(camera: Camera, image: NDArray[np.uint8], label: str) -> None:
    """Raise SourceError for an image that is not as large as those that the camera was calibrated with."""
    height, width = image.shape[:2]
    if camera.size not in ((width, height), (0, 0)):
        expected = " x ".join(map(str, camera.size))
        raise SourceError(f"{label} is {width} x {height}, but its camera is calibrated for {expected} px")


def _read(path: Path) -> list[Camera]:
    text = _text(path)
    if text.lstrip().startswith("{"):
        return read_panoptic(text.encode())
    if is_opencv_yaml(text):
        beside = INTRINSICS_BESIDE.get(path.stem)
        other = path.with_stem(beside) if beside else None
        return read_opencv(text, *([_text(other)] if other is not None and other.exists() else []))
    return read_qualisys(text)


def _text(path: Path) -> str:
    if path.stat().st_size > LARGEST:
        raise ValueError("it is too large")
    return path.read_text(encoding="utf-8", errors="replace")


def _upright(cameras: Sequence[Camera]) -> NDArray[np.float64]:
    """Return the rotation that turns y down. Cameras are held upright: their mean down is the axis that it is near."""
    down = np.mean([camera.R[1] for camera in cameras], axis=0)
    down /= max(float(np.linalg.norm(down)), 1e-9)
    axis = int(np.abs(down).argmax())
    if abs(down[axis]) > LEVEL:
        down = np.sign(down[axis]) * np.eye(3)[axis]
    right = np.eye(3)[2 if axis == 0 else 0]
    right = right - (right @ down) * down
    right /= np.linalg.norm(right)
    return np.stack([right, down, np.cross(right, down)])
