"""What people before several cameras lose on their way to tokens and back, measured against the room.

Every video goes the producer's way: images, poses, tracks, clock, tokens, decoded joints. Joints that the cameras see
at one tick are triangulated and projected back; the distance at the joint's depth is what the cameras disagree by. It
needs no labels, and holds estimator and tokenizer against the room. What all cameras have in common it does not see.
"""

import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

from stream.errors import SourceError
from stream.motion.clock import FPS, Clock
from stream.motion.projection import Camera
from stream.motion.skeleton import BONES, SEEN, J, Pose
from stream.multiview.calibration import check_size, read_calibration
from stream.multiview.matching import Group, Track, match_people
from stream.multiview.people import PeopleInTheRoom
from stream.multiview.steadiness import lag_ms, shake_mm
from stream.multiview.triangulation import Places, disagreement, triangulate
from stream.pose.choice import PeopleFinder, choose
from stream.pose.smoothing import Smoother
from stream.pose.source import open_vision
from stream.sources.base import PoseFrame
from stream.sources.video import VideoSource
from stream.tokenizer import Tokenizer

CAMERAS = 3
"""Cameras that have to see somebody at a tick for it to count: two nearly always find a place that fits both."""

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm")


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Of the joints of all people: how far cameras saw them from where they are, cm; how many; limbs that change.

    limbs: median over limbs and people of the deviation of a limb's length from its median, cm.
    """

    mean: float
    p90: float
    joints: int
    limbs: float


@dataclass(frozen=True, slots=True)
class Steadiness:
    """Of poses before they are tokens: how much they shake, mm, and how far fast joints lag, ms."""

    shake_mm: float
    lag_ms: float


@dataclass(frozen=True, slots=True)
class Result:
    """One pose estimator on one folder. cpu_ms: of all threads, a frame of one camera; people: seen a frame and camera;
    matched: people seen by two cameras or more; tracks: ids given; placed: of the joints that are believed where people
    are followed in the room, as with --calibration; smoothed: with the
    filter of --smooth; decoded: by tokenizer."""

    estimator: str
    cpu_ms: float
    people: float
    tracks: int
    matched: int
    poses: Disagreement
    placed: Disagreement
    steadiness: Steadiness
    smoothed: Steadiness
    decoded: dict[str, Disagreement]


def open_folder(folder: Path) -> tuple[list[Path], list[Camera]]:
    """Return the videos of a folder that its calibration (.qca.txt) describes, and their cameras.

    A video is named after its camera. Raises SourceError when there is not one calibration, or no two videos fit it.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder: give one with videos and a calibration (.qca.txt)")
    files = sorted(folder.iterdir())
    calibrations = [file for file in files if file.name.endswith(".qca.txt")]
    if len(calibrations) != 1:
        raise SourceError(f"{folder} holds {len(calibrations)} calibrations (.qca.txt): it needs one")
    cameras = read_calibration(calibrations[0])
    videos = [file for file in files if file.suffix.lower() in VIDEOS and file.stem in cameras]
    if len(videos) < CAMERAS:
        raise SourceError(
            f"{folder} holds {len(videos)} videos named after a camera of {calibrations[0].name} "
            f"({', '.join(cameras)}): it needs {CAMERAS} or more"
        )
    for video in videos:
        _check_size(video, cameras[video.stem])
    return videos, [cameras[video.stem] for video in videos]


def measure(
    videos: Sequence[Path],
    cameras: Sequence[Camera],
    finder: PeopleFinder,
    tokenizers: Sequence[Tokenizer],
    reference: Sequence[Mapping[int, Track]],
    stop: threading.Event,
) -> Result:
    """Run one estimator and all tokenizers on the videos of one scene, whose first frames are of the same moment.

    tokenizers: 2D ones. reference: the tracks of each video by which lag is told.
    """
    frames, used = watch(videos, finder, stop)
    raw = [ticks_of(view) for view in frames]
    smoothed = [ticks_of(_smoothed(view)) for view in frames]
    groups = match_people(cameras, raw)
    decoded = {tokenizer.label: compare(cameras, groups, _decoded(frames, tokenizer)) for tokenizer in tokenizers}
    count = sum(map(len, frames))
    return Result(
        choose(finder.pose, "2d", finder.model)[0] + (f", {finder.size} px" if finder.size else ""),
        1000 * used / max(count, 1),
        sum(len(frame.people) for view in frames for frame in view) / max(count, 1),
        sum(map(len, raw)),
        len(groups),
        compare(cameras, groups, raw),
        place(cameras, raw),
        Steadiness(shake_mm(raw), lag_ms(raw, reference)),
        Steadiness(shake_mm(smoothed), lag_ms(smoothed, reference)),
        decoded,
    )


def watch(videos: Sequence[Path], finder: PeopleFinder, stop: threading.Event) -> tuple[list[list[PoseFrame]], float]:
    """Return the frames of each video, without their pictures, and the seconds of CPU that they took."""
    frames: list[list[PoseFrame]] = []
    used = 0.0
    for video in videos:
        source = open_vision(
            str(video), "2d", rate="max", stop=stop, max_persons=finder.max_persons,
            pose=finder.pose, pose_size=finder.size, pose_model=finder.model, fps=FPS,
        )  # fmt: skip
        begin = time.process_time()
        frames.append([PoseFrame(frame.people, frame.time, frame.captured_ns) for frame in source])
        used += time.process_time() - begin
    return frames, used


def compare(cameras: Sequence[Camera], groups: Sequence[Group], tracks: Sequence[Mapping[int, Track]]) -> Disagreement:
    """Triangulate people at every tick that enough cameras see, and compare with what each camera saw.

    tracks: of each camera, by the numbers in `groups`.
    """
    distances: list[Places] = []
    tables: list[Places] = []
    for group in groups:
        lengths = []
        seen = [(view, tracks[view].get(number, {})) for view, numbers in group.items() for number in numbers]
        for tick in sorted({tick for _, track in seen for tick in track}):
            poses = {view: track[tick] for view, track in seen if tick in track}
            if len(poses) < CAMERAS:
                continue
            seeing = [cameras[view] for view in poses]
            joints = np.stack([pose.joints for pose in poses.values()])
            confidence = np.stack([pose.confidence for pose in poses.values()])
            confidence = np.where((confidence >= SEEN).sum(axis=0) >= CAMERAS, confidence, 0)
            places = triangulate(seeing, joints, confidence)
            apart = disagreement(seeing, joints, confidence, places)
            distances.append(apart[np.isfinite(apart)])
            lengths.append([np.linalg.norm(places[a] - places[b]) for a, b in BONES[5:]])
        if lengths:
            tables.append(np.array(lengths))
    return _summary(distances, tables)


def _summary(distances: Sequence[Places], lengths: Sequence[Places]) -> Disagreement:
    """lengths: of each person, cm [frames, limbs]."""
    found = np.concatenate(distances) if distances else np.empty(0)
    if not len(found):
        return Disagreement(np.nan, np.nan, 0, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a limb that was never seen has no median
        changes = [np.nanmedian(np.abs(table - np.nanmedian(table, axis=0)), axis=0) for table in lengths]
        limbs = float(np.nanmedian(np.concatenate(changes)))
    return Disagreement(float(found.mean()), float(np.percentile(found, 90)), len(found), limbs)


def place(cameras: Sequence[Camera], tracks: Sequence[Mapping[int, Track]]) -> Disagreement:
    """Follow people in the room at every tick, and tell by how much the cameras missed the joints they are believed of.

    tracks: of each camera, by its own ids.
    """
    room = PeopleInTheRoom(cameras)
    distances: list[Places] = []
    lengths: dict[int, list[Places]] = {}
    ticks = {tick for view in tracks for track in view.values() for tick in track}
    for tick in sorted(ticks):
        views = [{number: track[tick] for number, track in view.items() if tick in track} for view in tracks]
        for id, one in room.track(views, tick / FPS).items():
            distances.append(one.misses[np.isfinite(one.misses)])
            joints = np.where(one.pose.confidence[:, None] >= SEEN, one.pose.joints.astype(np.float64), np.nan)
            lengths.setdefault(id, []).append(np.array([np.linalg.norm(joints[a] - joints[b]) for a, b in BONES[5:]]))
    return _summary(distances, [np.array(each) for each in lengths.values()])


def table_of(results: Sequence[Result]) -> Table:
    """Return the figures as a table in Markdown, a row for the poses and for each tokenizer."""
    table = Table(box=box.MARKDOWN)
    for heading in ("estimator", "joints", "mean cm", "p90 cm", "limbs cm", "joints seen", "people", "ids", "CPU ms"):
        table.add_column(heading, justify="left" if heading in ("estimator", "joints") else "right")
    for result in results:
        rows = {"as seen": result.poses, "placed": result.placed} | {
            label.partition("@")[0]: found for label, found in result.decoded.items()
        }
        for what, found in rows.items():
            measured = [f"{value:.2f}" for value in (found.mean, found.p90, found.limbs)]
            about = [f"{result.people:.2f}", str(result.tracks), f"{result.cpu_ms:.0f}"]
            shown = about if found is result.poses else [""] * 3
            table.add_row(result.estimator, what, *measured, str(found.joints), *shown)
    return table


def steadiness_table_of(results: Sequence[Result]) -> Table:
    """Return how steady and how late each estimator's poses are, as they come and filtered."""
    table = Table(box=box.MARKDOWN)
    for heading in ("estimator", "shake mm", "lag ms", "--smooth: shake mm", "lag ms"):
        table.add_column(heading, justify="left" if heading == "estimator" else "right")
    for result in results:
        found = (result.steadiness, result.smoothed)
        table.add_row(
            result.estimator, *(text for one in found for text in (f"{one.shake_mm:.1f}", f"{one.lag_ms:.0f}"))
        )
    return table


def _smoothed(frames: Sequence[PoseFrame]) -> list[PoseFrame]:
    smoother = Smoother()
    return [PoseFrame(smoother.smooth(frame.people, frame.time), frame.time, frame.captured_ns) for frame in frames]


def _check_size(video: Path, camera: Camera) -> None:
    with closing(VideoSource(video, "max", threading.Event())) as source:
        for frame in source:
            check_size(camera, frame.image, str(video))
            return


def ticks_of(frames: Sequence[PoseFrame]) -> dict[int, dict[int, Pose]]:
    """Return what was seen of each person by tick of the producer's clock."""
    clock, tracks = Clock(), dict[int, dict[int, Pose]]()
    for frame in frames:
        for tick in clock.advance(frame.people, frame.time, frame.captured_ns):
            for track, pose in tick.people.items() if tick.seen else ():
                tracks.setdefault(track, {})[tick.index] = pose
    return tracks


def _decoded(frames: Sequence[Sequence[PoseFrame]], tokenizer: Tokenizer) -> list[dict[int, Track]]:
    """Return the same, of each camera, after encoding and decoding."""
    hops = tokenizer.encode_frames(frames)
    views: list[dict[int, Track]] = []
    for recording, motions in zip(hops, tokenizer.decode_hops(hops), strict=True):
        tracks: dict[int, dict[int, Pose]] = {}
        for hop, motion in zip(recording, motions, strict=True):
            for i in range(len(motion.joints)):
                if hop.observed >> i & 1:
                    pose = Pose(motion.joints[i].reshape(J, 2), motion.confidence[i])
                    tracks.setdefault(hop.track, {})[hop.frame + i] = pose
        views.append(dict(tracks))
    return views
