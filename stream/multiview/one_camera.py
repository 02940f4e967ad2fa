"""How well one camera alone tells where people stand (--focal), held against where all cameras see them."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table

from stream.motion.clock import FPS
from stream.motion.projection import Camera
from stream.motion.skeleton import SEEN, Pose
from stream.multiview.benchmark import ticks_of
from stream.multiview.matching import Track
from stream.multiview.people import PeopleInTheRoom
from stream.pose.choice import Focal
from stream.pose.source import open_vision

HIPS = slice(11, 13)

SAME = 0.08
"""People whose hips lie in directions less far apart, as tangents, are one person."""

_Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PlaceErrors:
    """Of the hips of people before single cameras, by where all cameras see them: medians, cm but for `share`.

    away: how much too far or too near; share: the same, of the distance; steady: how much `away` changes about its
    median for one person before one camera; across: how far beside; body: of the joints, about the hips; count: poses
    that were compared.
    """

    focal: str
    away: float
    share: float
    steady: float
    across: float
    body: float
    count: int


@dataclass(frozen=True, slots=True)
class _Error:
    away: float
    distance: float
    across: float
    body: float


def measure_places(
    videos: Sequence[Path],
    cameras: Sequence[Camera],
    model: Path,
    people: int,
    reference: Sequence[Mapping[int, Track]],
    stop: threading.Event,
) -> list[PlaceErrors]:
    """Place people by each camera alone, with its own focal length and with a guessed one.

    model, people: of MediaPipe. reference: 2D tracks of each video, for where people are.
    """
    room = in_the_room(cameras, reference)
    found = []
    for focal in ("of the calibration", "guess"):
        errors: dict[tuple[int, int, int], list[_Error]] = {}
        for view, (video, camera) in enumerate(zip(videos, cameras, strict=True)):
            length: Focal = "guess" if focal == "guess" else float(camera.K[0, 0])
            source = open_vision(
                str(video),
                "3d",
                rate="max",
                stop=stop,
                max_persons=people,
                pose_model=str(model),
                focal=length,
                fps=FPS,
            )
            for number, track in ticks_of(list(source)).items():
                for tick, pose in track.items():
                    if (nearest := _compare(camera, pose, room.get(tick, {}))) is not None:
                        errors.setdefault((view, number, nearest[0]), []).append(nearest[1])
        found.append(_summary(focal, list(errors.values())))
    return found


def places_table_of(results: Sequence[PlaceErrors]) -> Table:
    """Return the figures as a table in Markdown."""
    table = Table(box=box.MARKDOWN)
    for heading in ("focal length", "away cm", "of the distance", "steady to cm", "across cm", "body cm", "poses"):
        table.add_column(heading, justify="left" if heading == "focal length" else "right")
    for one in results:
        figures = (f"{value:.1f}" for value in (one.steady, one.across, one.body))
        table.add_row(one.focal, f"{one.away:.0f}", f"{100 * one.share:.0f} %", *figures, str(one.count))
    return table


def in_the_room(cameras: Sequence[Camera], tracks: Sequence[Mapping[int, Track]]) -> dict[int, dict[int, Pose]]:
    """Return the people whom two cameras or more see, cm, by tick and id."""
    room = PeopleInTheRoom(cameras)
    ticks = sorted({tick for view in tracks for track in view.values() for tick in track})
    people: dict[int, dict[int, Pose]] = {}
    for tick in ticks:
        views = [{number: track[tick] for number, track in view.items() if tick in track} for view in tracks]
        people[tick] = {id: one.pose for id, one in room.track(views, tick / FPS).items()}
    return people


def _compare(camera: Camera, pose: Pose, people: Mapping[int, Pose]) -> tuple[int, _Error] | None:
    """Return who of the people in the room somebody is, and by how much they are elsewhere; None if nobody."""
    placed = pose.joints.astype(np.float64)
    hips = placed[HIPS].mean(axis=0)
    best: tuple[float, int, _Points] | None = None
    for id, true in people.items():
        if true.confidence[HIPS].min() < SEEN:
            continue
        joints = true.joints @ camera.R.T + camera.t
        middle = joints[HIPS].mean(axis=0)
        beside = float(np.linalg.norm(hips[:2] / hips[2] - middle[:2] / middle[2]))
        if beside < min(SAME, best[0] if best else SAME):
            best = beside, id, joints
    if best is None:
        return None
    _, id, joints = best
    middle = joints[HIPS].mean(axis=0)
    distance = float(np.linalg.norm(middle))
    away = float((hips - middle) @ middle) / distance
    across = float(np.linalg.norm(hips - middle - away * middle / distance))
    body = np.linalg.norm((placed - hips) - (joints - middle), axis=1)[people[id].confidence >= SEEN].mean()
    return id, _Error(away, distance, across, float(body))


def _summary(focal: str, people: Sequence[Sequence[_Error]]) -> PlaceErrors:
    errors = [error for person in people for error in person]
    if not errors:
        return PlaceErrors(focal, np.nan, np.nan, np.nan, np.nan, np.nan, 0)
    about = [error.away - np.median([one.away for one in person]) for person in people for error in person]
    return PlaceErrors(
        focal,
        float(np.median([abs(error.away) for error in errors])),
        float(np.median([abs(error.away) / error.distance for error in errors])),
        float(np.median(np.abs(about))),
        float(np.median([error.across for error in errors])),
        float(np.median([error.body for error in errors])),
        len(errors),
    )
