"""TRC, OpenSim's form of marker trajectories: a table of text with one row a frame."""

from collections.abc import Iterator

import numpy as np

from stream.files.body import Body
from stream.motion.skeleton import JOINTS

MM = 10.0
"""Millimetres in a centimetre."""

UP = np.array([1, -1, -1])
"""Turns our axes (y down) into OpenSim's (y up), half a turn about x."""


def trc_lines(body: Body) -> Iterator[str]:
    """Yield the lines of a TRC file: time in s from the first frame, markers in mm, y up.

    body: in cm. The markers are the 17 joints by their names, `l-knee` as LKnee.
    """
    markers = [_marker(joint) for joint in JOINTS]
    frames, fps = len(body.joints), body.fps
    yield f"PathFileType\t4\t(X/Y/Z)\t{body.name}.trc"
    yield "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames"
    yield f"{fps:g}\t{fps:g}\t{frames}\t{len(markers)}\tmm\t{fps:g}\t1\t{frames}"
    yield "Frame#\tTime\t" + "\t\t\t".join(markers) + "\t\t"
    yield "\t\t" + "\t".join(f"X{n}\tY{n}\tZ{n}" for n in range(1, len(markers) + 1))
    yield ""
    for index, joints in enumerate(body.joints * UP * MM):
        numbers = "\t".join(f"{number:.3f}" for number in joints.ravel())
        yield f"{index + 1}\t{index / fps:.6f}\t{numbers}"


def _marker(joint: str) -> str:
    return "".join(part.capitalize() for part in joint.split("-"))
