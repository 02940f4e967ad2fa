"""Reads Qualisys' calibration of cameras (.qca.txt)."""

import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from stream.errors import SourceError
from stream.motion.projection import Camera

SUBPIXELS = 64.0
"""Qualisys counts pixels of the sensor in 64ths."""

LARGEST = 4 << 20
"""Bytes; a calibration of a hundred cameras is a hundredth of it."""

_FACING = np.diag([1.0, -1.0, -1.0])  # Qualisys' cameras look along -z with y up, OpenCV's along z with y down


def read_calibration(path: Path) -> dict[str, Camera]:
    """Return the cameras of a file by name; world coordinates in cm, as the file has them.

    Raises SourceError when it cannot be read or is not such a file.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise SourceError(f"{path} is too large to be a calibration: give Qualisys' .qca.txt")
        text = path.read_text(encoding="utf-8", errors="replace")
        if "<!" in text.replace("<!--", ""):
            raise SourceError(f"{path} declares entities, which a calibration does not need")
        cameras = [_camera(entry) for entry in ElementTree.fromstring(text).iter("camera")]
    except OSError as error:
        raise SourceError(f"cannot read the calibration {path}: {error.strerror}") from error
    except ElementTree.ParseError as error:
        raise SourceError(f"{path} is not a calibration by Qualisys ({error}): give its .qca.txt") from error
    except (KeyError, ValueError, AttributeError) as error:
        raise SourceError(f"{path} describes a camera that cannot be one: {error}") from error
    if not cameras:
        raise SourceError(f"{path} describes no camera: give Qualisys' .qca.txt")
    return {camera.name: camera for camera in cameras}


def _camera(entry: ElementTree.Element) -> Camera:
    view, lens, pose = (_numbers(entry, tag) for tag in ("fov_video", "intrinsic", "transform"))
    K = np.eye(3)
    K[0, 0], K[1, 1] = lens["focalLengthU"] / SUBPIXELS, lens["focalLengthV"] / SUBPIXELS
    K[0, 2] = lens["centerPointU"] / SUBPIXELS - view["left"]
    K[1, 2] = lens["centerPointV"] / SUBPIXELS - view["top"]
    in_world = np.array([[pose[f"r{row}{column}"] for row in (1, 2, 3)] for column in (1, 2, 3)])
    R = _FACING @ in_world.T
    place = np.array([pose["x"], pose["y"], pose["z"]]) / 10
    names = ("radialDistortion1", "radialDistortion2", "tangentalDistortion1", "tangentalDistortion2")
    distortion = [*(lens[name] for name in names), lens["radialDistortion3"]]
    size = (int(view["right"] - view["left"]) + 1, int(view["bottom"] - view["top"]) + 1)
    return Camera(entry.attrib["serial"], K, R, -R @ place, distortion, size)


def _numbers(entry: ElementTree.Element, tag: str) -> dict[str, float]:
    found = entry.find(tag)
    if found is None:
        raise ValueError(f"it lacks {tag}")
    values = {}
    for name, text in found.attrib.items():
        try:
            value = float(text)
        except ValueError:
            continue  # names and notes
        if math.isfinite(value):
            values[name] = value
    return values
