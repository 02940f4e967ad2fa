"""The calibration file of a CMU Panoptic recording: the HD cameras by name."""

import msgspec

from stream.errors import SourceError
from stream.motion.projection import Camera

DEFAULT_CAMERA = "00_03"
"""The HD camera to look through unless the user names another."""


class _CameraEntry(msgspec.Struct):
    name: str
    type: str
    resolution: tuple[int, int]
    K: list[list[float]]
    R: list[list[float]]
    t: list[list[float]]
    distCoef: list[float]


class _Calibration(msgspec.Struct):
    cameras: list[_CameraEntry]


def hd_camera(calibration: bytes, name: str | None) -> Camera:
    """The HD camera `name` (None: 00_03, else the first); SourceError when the file or the name is wrong."""
    try:
        entries = _entries(calibration)
    except ValueError as error:
        raise SourceError(f"the calibration file is damaged ({error}): download it again") from error
    cameras = {entry.name: entry for entry in entries if entry.type == "hd"}
    if not cameras:
        raise SourceError("the calibration file holds no HD camera: download it again")
    if name is None:
        name = DEFAULT_CAMERA if DEFAULT_CAMERA in cameras else next(iter(cameras))
    if name not in cameras:
        some = ", ".join(list(cameras)[:6]) + (", ..." if len(cameras) > 6 else "")
        raise SourceError(f"no HD camera {name!r} in the calibration: name one of its {len(cameras)}: {some}")
    try:
        return _camera(cameras[name])
    except ValueError as error:
        raise SourceError(f"camera {name} is damaged in the calibration ({error}): name another") from None


def read_panoptic(calibration: bytes) -> list[Camera]:
    """All cameras of the file, of whatever type, in its own coordinates: cm, y down. Raises ValueError."""
    return [_camera(entry) for entry in _entries(calibration)]


def _entries(calibration: bytes) -> list[_CameraEntry]:
    try:
        return msgspec.json.decode(calibration, type=_Calibration).cameras
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _camera(entry: _CameraEntry) -> Camera:
    return Camera(entry.name, entry.K, entry.R, entry.t, entry.distCoef, entry.resolution)
