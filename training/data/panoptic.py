"""Sequences of the CMU Panoptic dataset as clips, and the lists by which arXiv 2509.19252 uses them."""

import logging
from collections import defaultdict
from pathlib import Path

import numpy as np

from engine.errors import KinetokenError
from stream.motion.calibration import hd_camera
from stream.motion.clips import Clip, Mask
from stream.motion.clock import MAX_HOLD
from stream.motion.panoptic import open_recording
from stream.motion.projection import Camera
from stream.motion.scenes import FPS, Scenes
from stream.motion.skeleton import BONES, JOINTS, SEEN, Array, J, Pose


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


TRAIN = _names(
    """
    160224_haggling1 160226_haggling1 160422_ultimatum1 160906_band1 160906_band2 160906_ian2 160906_ian3 160906_ian5
    160906_pizza1 161029_flute1 161029_piano1 161029_piano2 161029_piano4 170221_haggling_b1 170221_haggling_b3
    170221_haggling_m1 170221_haggling_m2 170221_haggling_m3 170224_haggling_a2 170224_haggling_a3 170224_haggling_b1
    170224_haggling_b2 170224_haggling_b3 170228_haggling_a1 170228_haggling_a2 170228_haggling_b1 170228_haggling_b2
    170228_haggling_b3 170307_dance5 170404_haggling_a1 170404_haggling_a3 170404_haggling_b1 170404_haggling_b2
    170404_haggling_b3 170407_haggling_a2 170407_haggling_a3 170407_haggling_b1 170407_haggling_b2 170407_office2
    171026_cello3 171026_pose1 171026_pose3 171204_pose1 171204_pose2 171204_pose3 171204_pose4 171204_pose6
    """
)
"""Sequences that the paper trains on."""

VALIDATION = _names(
    """
    160422_haggling1 160906_band3 160906_ian1 161029_piano3 170221_haggling_b2 170224_haggling_a1 170228_haggling_a3
    170404_haggling_a2 170407_haggling_a1 170407_haggling_b3 170915_office1 171026_pose2 171204_pose5
    """
)
"""Sequences that it validates on."""

EXO = tuple(f"00_{n:02d}" for n in (1, 2, 4, 6, 7, 10, 13, 17, 19, 28))
"""HD cameras of its views from outside."""

EGO = tuple(f"00_{n:02d}" for n in (0, 3, 5, 8, 9, 14, 15, 23, 24, 25))
"""HD cameras of its views from the height of the people."""

TRIPLES = (
    ("00_01", "00_04", "00_07"),
    ("00_17", "00_28", "00_13"),
    ("00_02", "00_06", "00_19"),
    ("00_10", "00_17", "00_28"),
)
"""Exo cameras that look at the same window together."""

_log = logging.getLogger(__name__)


def read_sequence(path: Path) -> list[Clip]:
    """Read a sequence folder, a folder of poses or a tar: a clip for every stretch of every person's presence.

    A person who is away, or not measured, for up to 8 frames stays in the clip, with no joint measured.

    Raises SourceError where there is nothing to read, no frame can be read, or a tar breaks off.
    """
    recording = open_recording(path)
    scenes = Scenes(path, recording)
    tracks: dict[int, dict[int, Pose]] = defaultdict(dict)
    time: float | None = None
    for time, people in scenes.read():
        for track, pose in people.items():
            tracks[track][round(time * FPS)] = pose
    scenes.check(time)
    for cause, count in scenes.counts.items():
        _log.warning("%s: %d %s, the first is %s", path, count, cause, scenes.first_fault)
    cameras = cameras_of(recording.calibration)
    clips = []
    for track, poses in sorted(tracks.items()):
        for frames in _stretches(sorted(poses)):
            joints, measured = _fill(frames, poses)
            clips.append(Clip(f"{recording.name}/{track}@{frames[0]}", joints, FPS, measured, "", cameras))
    return clips


def cameras_of(calibration: bytes | None) -> tuple[Camera, ...]:
    """Return the HD cameras of both lists that a calibration file has."""
    if calibration is None:
        return ()
    found = []
    for name in sorted({*EXO, *EGO}):
        try:
            found.append(hd_camera(calibration, name))
        except KinetokenError:  # the motion is worth having with one camera less
            continue
    return tuple(found)


def _stretches(frames: list[int]) -> list[list[int]]:
    """Cut rising frame numbers where more than `MAX_HOLD` are missing."""
    breaks = np.flatnonzero(np.diff(frames) > MAX_HOLD + 1) + 1
    return [part.tolist() for part in np.split(np.array(frames), breaks)]


def _fill(frames: list[int], poses: dict[int, Pose]) -> tuple[Array, Mask]:
    """Return joints [T, 17, 3] and which were measured; the others lie between their neighbours in time."""
    span = np.arange(frames[0], frames[-1] + 1)
    joints = np.zeros((len(span), J, 3), np.float32)
    measured = np.zeros((len(span), J), bool)
    for frame in frames:
        joints[frame - frames[0]] = poses[frame].joints
        measured[frame - frames[0]] = poses[frame].confidence >= SEEN
    ever: Mask = np.asarray(measured.any(axis=0))
    for joint in np.flatnonzero(ever).tolist():
        at = np.flatnonzero(measured[:, joint])
        for axis in range(3):
            joints[:, joint, axis] = np.interp(np.arange(len(span)), at, joints[at, joint, axis])
    for joint, other in _stand_ins(ever):
        joints[:, joint] = joints[:, other]
    return joints, measured


def _stand_ins(ever: Mask) -> list[tuple[int, int]]:
    """Return a place for every joint that was never measured: that of the nearest one along the bones."""
    known = set(np.flatnonzero(ever).tolist())
    pairs: list[tuple[int, int]] = []
    while len(known) < len(JOINTS):
        reached = [(b, a) for one, two in BONES for a, b in ((one, two), (two, one)) if a in known and b not in known]
        pairs += dict(reached).items()
        known.update(joint for joint, _ in reached)
    return pairs
