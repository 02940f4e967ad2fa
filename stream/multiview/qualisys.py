"""Reads Qualisys' calibration of cameras (.qca.txt)."""

import math
from xml.etree import ElementTree

import numpy as np

from stream.motion.projection import Camera

SUBPIXELS = 64.0
"""Qualisys counts pixels of the sensor in 64ths."""

_FACING = np.diag([1.0, -1.0, -1.0])  # Qualisys' cameras look along -z with y up, OpenCV's along z with y down


def read_qualisys(text: str) -> list[Camera]:
    """Return the cameras that a file describes; world coordinates in cm, with the file's axes.

    Raises ValueError when it describes something else.
    """
    if "<!" in text.replace("<!--", ""):
        raise ValueError("it declares entities, which a calibration does not need")
    try:
        return [_camera(entry) for entry in ElementTree.fromstring(text).iter("camera")]
    except ElementTree.ParseError as error:
        raise ValueError(f"it is not XML ({error})") from error
    except (KeyError, AttributeError) as error:
        raise ValueError(f"a camera lacks {error}") from error


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
        raise ValueError(f"a camera lacks {tag}")
    values = {}
    for name, text in found.attrib.items():
        try:
            value = float(text)
        except ValueError:
            continue  # names and notes
        if math.isfinite(value):
            values[name] = value
    return values
