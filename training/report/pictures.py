"""Pictures for people: strips and videos of what went in and what came out, where errors lie, what tokens are used."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.motion.clock import FPS
from stream.motion.drawing import INK, PAPER, Image
from stream.motion.heatmap import planes_of
from stream.motion.skeleton import BONES, Array
from training.evaluation.roundtrip import Codec, CodecInfo, DrawingCodec, Track, combined, decoded_keypoints, redrawn
from training.evaluation.sets import Evaluation

CELL = 128
"""Side of one picture of a strip, pixels; in a video twice as large."""

EDGE = 4
MARGIN = 96
HEADER = 28

ROWS = ("went in", "came out", "difference")
PLANE_NAMES = ("front", "side", "above")


def draw_evaluation(
    codec: Codec | DrawingCodec,
    sets: dict[str, Evaluation],
    sizes: CodecInfo,
    folder: Path,
    run: Path | None = None,
    videos: bool = True,
) -> list[Path]:
    """Draw all figures of an evaluation into a folder; return the files.

    For every set: a strip and, with `videos`, a video of a recording of middling error, the use of the codebook, and,
    where joints are decoded, the errors on a body. run: a training run's folder, for its curves; left out where it
    has none.
    """
    from training.report import plots

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, part in sets.items():
        stem = name.replace("/", "-")
        if name != "total":
            track = redrawn(codec, part.result.tracks[median_track(part.result.tracks)])
            title = f"{sizes.name}: {track.name} of {name}"
            files.append(folder / f"{stem}-strip.png")
            cv2.imwrite(str(files[-1]), strip(track, sizes, title))
            if videos:
                files.append(folder / f"{stem}.mp4")
                write_video(files[-1], video(track, sizes))
        files.append(plots.codebook(part.result.tokens, sizes, name, folder / f"{stem}-codebook.png"))
        if not np.isnan(part.result.tracks[0].placed).any():
            files.append(plots.body(part.result.tracks, sizes, name, folder / f"{stem}-joints.png"))
    curves = plots.training_curves(run, folder / "training.png") if run else None
    return [*files, curves] if curves else files


def median_track(tracks: Sequence[Track]) -> int:
    """Return the number of the recording of the median error among those of three seconds or more (else among all)."""
    long = [n for n, track in enumerate(tracks) if track.seconds >= 3] or list(range(len(tracks)))
    errors = [float(np.nan_to_num(tracks[n].errors_cm[tracks[n].known]).mean()) for n in long]
    return long[int(np.argsort(errors)[len(errors) // 2])]


def strip(track: Track, sizes: CodecInfo, title: str, columns: int = 8) -> Image:
    """Draw moments of a recording side by side: what went in, what came out and the difference, for each plane."""
    moments = np.linspace(0, len(track.truth) - 1, columns).astype(int)
    planes = _planes(track, sizes, moments)
    rows = []
    for name, kinds in planes:
        for kind, row in zip(ROWS, kinds, strict=True):
            cells = [_cell(picture, CELL) for picture in row]
            rows.append(np.concatenate([_text(MARGIN, len(cells[0]), f"{name}{kind}"), *cells], axis=1))
    width = rows[0].shape[1]
    times = np.concatenate(
        [_text(MARGIN, HEADER, "")] + [_text(CELL + EDGE, HEADER, f"{moment / FPS:.2f} s") for moment in moments],
        axis=1,
    )
    return np.concatenate([_text(width, HEADER, title), times, *rows])


def comparison(tracks: Sequence[tuple[Track, CodecInfo]], title: str, columns: int = 8) -> Image:
    """Draw moments of one recording by several tokenizers: what went in, then what came out of each and how it is off.

    3D is seen from the front.
    """
    moments = np.linspace(0, len(tracks[0][0].truth) - 1, columns).astype(int)
    rows = []
    for number, (track, sizes) in enumerate(tracks):
        pictures = _planes(track, sizes, moments)[0][1]
        kinds = [(f"{number + 1}: {sizes.name}", picture) for picture in pictures[1:]]
        for name, row in kinds if number else [(ROWS[0], pictures[0]), *kinds]:
            cells = [_cell(picture, CELL) for picture in row]
            rows.append((name, np.concatenate(cells, axis=1)))
    lines = [_text(rows[0][1].shape[1], HEADER, f"{title}: {tracks[0][0].name}")]
    before = ""
    for name, drawn in rows:
        lines += [drawn] if name == before else [_text(drawn.shape[1], HEADER, name), drawn]
        before = name
    return np.concatenate(lines)


def video(track: Track, sizes: CodecInfo, seconds: float = 10.0) -> list[Image]:
    """Draw the frames of a recording's first seconds: per plane what went in, what came out and the difference."""
    moments = np.arange(min(len(track.truth), int(seconds * FPS)))
    planes = _planes(track, sizes, moments)
    titles = np.concatenate([_text(2 * CELL + EDGE, HEADER, kind) for kind in ROWS], axis=1)
    frames = []
    for moment in moments:
        rows = [np.concatenate([_cell(row[moment], 2 * CELL) for row in pictures], axis=1) for _, pictures in planes]
        frames.append(np.concatenate([titles, *rows]))
    return frames


def write_video(file: Path, frames: Sequence[Image]) -> None:
    """Write frames at 30 a second. Raises OSError where it cannot be written."""
    height, width = frames[0].shape[:2]
    # MP4 wants even sides.
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (width // 2 * 2, height // 2 * 2))
    if not writer.isOpened():
        raise OSError(f"cannot write {file}")
    try:
        for frame in frames:
            writer.write(np.ascontiguousarray(frame[: height // 2 * 2, : width // 2 * 2]))
    finally:
        writer.release()


def _planes(track: Track, sizes: CodecInfo, moments: NDArray[np.integer]) -> list[tuple[str, list[list[Image]]]]:
    """Return for each plane its name and the three rows of pictures at these moments."""
    out = decoded_keypoints(track)
    if track.maps is not None:
        pairs = [maps[:, moments] for maps in track.maps]
    else:
        pairs = [combined(each[moments], sizes.grid, sizes.sigma) for each in (track.keypoints, out)]
    planes = planes_of(track.truth.shape[-1]) if sizes.views == 1 else planes_of(2) * sizes.views
    found = []
    for number, (truth, decoded) in enumerate(zip(*pairs, strict=True)):
        name = f"{PLANE_NAMES[number]}: " if len(planes) == 3 and sizes.views == 1 else ""
        name = f"camera {number + 1}: " if sizes.views > 1 else name
        shown = np.isfinite(out).all() and sizes.views == 1
        bodies = (track.keypoints[moments], out[moments]) if shown else (None, None)
        rows = [
            [heat(picture, None if body is None else body[i], planes[number]) for i, picture in enumerate(pictures)]
            for pictures, body in zip((truth, decoded), bodies, strict=True)
        ]
        rows.append([change(a, b) for a, b in zip(truth, decoded, strict=True)])
        found.append((name, rows))
    return found


def heat(picture: Array, body: Array | None = None, plane: tuple[int, int] = (0, 1)) -> Image:
    """Colour a heatmap [G, G] in 0..1, the body's bones [17, D + 1] over it in thin lines: [2 CELL, 2 CELL, 3]."""
    size = 2 * CELL
    large = cv2.resize(np.clip(picture, 0, 1), (size, size), interpolation=cv2.INTER_LINEAR)
    image = cv2.applyColorMap((large * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    if body is not None:
        for a, b in BONES:
            if body[a, -1] and body[b, -1]:
                ends = [
                    (round(float(body[j, plane[0]]) * size), round(float(body[j, plane[1]]) * size)) for j in (a, b)
                ]
                cv2.line(image, ends[0], ends[1], (190, 190, 190), 1, cv2.LINE_AA)
    return np.asarray(image, np.uint8)


def change(truth: Array, decoded: Array) -> Image:
    """Colour what came out too much in red and too little in blue, nothing in white: [2 CELL, 2 CELL, 3]."""
    size = 2 * CELL
    off = cv2.resize(np.clip(decoded, 0, 1) - np.clip(truth, 0, 1), (size, size), interpolation=cv2.INTER_LINEAR)
    more, less = np.clip(off, 0, 1)[..., None], np.clip(-off, 0, 1)[..., None]
    red, blue = np.array([40, 40, 200.0]), np.array([200, 90, 20.0])
    image = PAPER - more * (PAPER - red) - less * (PAPER - blue)
    return np.asarray(image.clip(0, 255), np.uint8)


def _cell(picture: Image, size: int) -> Image:
    scaled = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(np.pad(scaled, ((0, EDGE), (0, EDGE), (0, 0)), constant_values=PAPER), np.uint8)


def _text(width: int, height: int, words: str) -> Image:
    picture = np.full((height, width, 3), PAPER, np.uint8)
    for line, part in enumerate(words.split(": ", 1) if width == MARGIN else [words]):
        at = (6, height // 2 + 5 + 18 * line - (9 if width == MARGIN and ": " in words else 0))
        cv2.putText(picture, part, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, INK, 1, cv2.LINE_AA)
    return picture
