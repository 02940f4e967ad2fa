"""Reads calibrations of several cameras that OpenCV's FileStorage wrote (YAML).

Three ways to write them are in use: each camera under its name; the camera's name after each key, in one file or, as
EasyMocap does, in two (intri.yml, extri.yml); and the stereo example's M1, D1, M2, D2, R, T (intrinsics.yml,
extrinsics.yml). `unit` may say what translations are in: m, as EasyMocap has it, where nothing is said, cm or mm.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.motion.projection import Camera

KEYS = {
    "K": ("K", "camera_matrix", "cameraMatrix", "M"),
    "distortion": ("dist", "distortion_coefficients", "dist_coeffs", "distCoeffs", "distortion", "D"),
    "R": ("Rot", "R", "rotation", "rotation_matrix"),
    "T": ("T", "t", "translation", "translation_vector"),
    "width": ("image_width", "width", "W"),
    "height": ("image_height", "height", "H"),
}
"""What is needed of a camera, and under which keys it may stand; the first that is there counts."""

CM = {"m": 100.0, "cm": 1.0, "mm": 0.1}

_Node = Any  # cv2.FileNode, whose stubs do not know its methods
_Parts = dict[str, _Node]


def is_opencv_yaml(text: str) -> bool:
    """Whether a text looks like what FileStorage writes."""
    return text.lstrip().startswith("%YAML") or "!!opencv-matrix" in text


def read_opencv(*texts: str) -> list[Camera]:
    """Return the cameras that one file, or two files together, describe; cm, with the file's axes.

    A camera whose picture size is not told has the size (0, 0). Raises ValueError.
    """
    storages = [_open(text) for text in texts]
    nodes: dict[str, _Node] = {key: node for storage in storages for key, node in _items(storage.root())}
    unit = nodes["unit"].string() if "unit" in nodes else "m"
    if unit not in CM:
        raise ValueError(f"unit {unit!r}: m, cm or mm")
    return [_camera(name, parts, CM[unit]) for name, parts in _cameras(nodes)]


def _open(text: str) -> Any:
    try:
        storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
    except (cv2.error, SystemError) as error:
        raise ValueError("OpenCV cannot read it") from error
    if not storage.isOpened():
        raise ValueError("OpenCV cannot read it")
    return storage


def _items(node: _Node) -> Iterator[tuple[str, _Node]]:
    names: tuple[str, ...] = node.keys() if node.isMap() else ()
    yield from ((name, node.getNode(name)) for name in names)


def _cameras(nodes: Mapping[str, _Node]) -> Iterator[tuple[str, _Parts]]:
    """Yield the name and the parts of each camera, whichever way they are written."""
    if {"M1", "M2", "R", "T"} <= nodes.keys():
        yield "1", {"K": nodes["M1"], **_part("D", nodes.get("D1"))}
        yield "2", {"K": nodes["M2"], "R": nodes["R"], "T": nodes["T"], **_part("D", nodes.get("D2"))}
        return
    group = nodes.get("cameras")
    entries = list(_items(group)) if group is not None else [(k, n) for k, n in nodes.items() if _is_camera(n)]
    if group is not None and group.isSeq():
        entries = [(str(i), group.at(i)) for i in range(group.size())]
    if entries:
        for key, entry in entries:
            parts = dict(_items(entry))
            yield parts["name"].string() if "name" in parts else key, parts
        return
    of_camera = re.compile(rf"({'|'.join(key for keys in KEYS.values() for key in keys)})_(.+)")
    cameras: dict[str, _Parts] = {}
    for key, node in nodes.items():
        if found := of_camera.fullmatch(key):
            cameras.setdefault(found[2], {})[found[1]] = node
    yield from cameras.items()


def _is_camera(node: _Node) -> bool:
    """Whether it holds entries, and is not a matrix, which is a map too."""
    return bool(node.isMap()) and not {"dt", "data"} <= set(node.keys())


def _part(key: str, node: _Node | None) -> _Parts:
    return {} if node is None else {key: node}


def _camera(name: str, parts: _Parts, scale: float) -> Camera:
    found = {what: node for what, keys in KEYS.items() if (node := _first(parts, keys)) is not None}
    if "K" not in found:
        raise ValueError(f"camera {name} lacks K (camera_matrix)")
    if ("R" in found) != ("T" in found):
        raise ValueError(f"camera {name} has R or T, not both")
    R = _matrix(name, found["R"]) if "R" in found else np.eye(3)
    T = _matrix(name, found["T"]) if "T" in found else np.zeros(3)
    if R.size == 3:
        R = cv2.Rodrigues(R.reshape(3, 1))[0]
    distortion = _matrix(name, found["distortion"]).ravel() if "distortion" in found else np.zeros(5)
    if np.any(distortion[5:]):
        raise ValueError(f"camera {name} has {len(distortion)} distortion coefficients: only k1 k2 p1 p2 k3 are read")
    distortion = np.resize(np.append(distortion, np.zeros(5)), 5)
    size = (int(found["width"].real()), int(found["height"].real())) if {"width", "height"} <= found.keys() else (0, 0)
    try:
        return Camera(name, _matrix(name, found["K"]), R, T.ravel() * scale, distortion, size)
    except ValueError as error:
        raise ValueError(f"camera {name}: {error}") from error


def _first(parts: _Parts, keys: tuple[str, ...]) -> _Node | None:
    return next((parts[key] for key in keys if key in parts), None)


def _matrix(name: str, node: _Node) -> NDArray[np.float64]:
    try:
        if node.isSeq():
            return np.array([node.at(i).real() for i in range(node.size())], np.float64)
        return np.asarray(node.mat(), np.float64)
    except (cv2.error, TypeError, ValueError) as error:
        raise ValueError(f"camera {name} has a matrix that is damaged") from error
