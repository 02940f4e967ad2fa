"""Diagrams for people: errors on a body, use of the codebook, bits against error, curves of a training run."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib import color_sequences
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from stream.motion.skeleton import BONES, JOINTS
from training.evaluation.metrics import entropy
from training.evaluation.rate_distortion import Point
from training.evaluation.roundtrip import CodecInfo, Tokens, Track
from training.run.folder import read_log

STANDING = np.array(
    [
        (0, 160), (3, 164), (-3, 164), (8, 162), (-8, 162), (19, 140), (-19, 140), (42, 122), (-42, 122),
        (60, 104), (-60, 104), (11, 92), (-11, 92), (14, 50), (-14, 50), (17, 8), (-17, 8),
    ]
)  # fmt: skip
"""A body to draw on, seen from the front: [17, 2] in cm, up."""


def body(tracks: Sequence[Track], sizes: CodecInfo, title: str, file: Path) -> Path:
    """Draw the mean error of every joint on a standing body."""
    count = len(JOINTS)
    known = np.concatenate([track.known.reshape(-1, count) for track in tracks])
    errors = np.where(known, np.concatenate([track.errors_cm.reshape(-1, count) for track in tracks]), np.nan)
    mean = np.nanmean(errors, axis=0)
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    for a, b in BONES:
        axes.plot(*STANDING[[a, b]].T, color="0.75", zorder=1)
    # On the nose's left the face is crowded: its labels stand in a column beside it.
    spots = axes.scatter(
        STANDING[:, 0], STANDING[:, 1], s=60 + 50 * mean, c=mean, cmap="viridis_r", zorder=2, edgecolors="0.3"
    )
    for joint, (x, y) in enumerate(STANDING):
        face = joint < 5
        side = 1 if x >= 0 else -1
        at = (side * 30, 172 - 7 * ((joint + 1) // 2)) if face and joint else (x + side * 6, y)
        at = (-2, 178) if joint == 0 else at
        axes.annotate(
            f"{JOINTS[joint]} {mean[joint]:.1f}",
            (x, y),
            at,
            fontsize=8,
            va="center",
            ha="left" if side > 0 else "right",
            arrowprops={"arrowstyle": "-", "color": "0.8"} if face else None,
        )
    axes.set(xlim=(-100, 100), ylim=(-5, 185), aspect="equal")
    axes.axis("off")
    axes.set_title(f"{sizes.name} on {title}\nmean error by joint, cm (the person's left is on the right)", fontsize=10)
    figure.colorbar(spots, ax=axes, shrink=0.5, label="cm")
    figure.savefig(file, dpi=120)
    return file


def codebook(tokens: Tokens, sizes: CodecInfo, title: str, file: Path) -> Path:
    """Draw how often each id of each level is used, and the bits that each place of the token grid says.

    The levels' grids stand side by side.
    """
    flat, levels = tokens.reshape(len(tokens), -1), np.moveaxis(tokens, 1, 0).astype(np.int64)
    ids = len(levels) * sizes.vocabulary
    counts = np.concatenate([np.bincount(level[level >= 0], minlength=sizes.vocabulary) for level in levels])
    share = np.sort(counts)[::-1] / counts.sum() * ids
    bits = np.array([entropy(np.unique(column, return_counts=True)[1]) for column in flat.T])
    figure = Figure(figsize=(10, 4), layout="constrained")
    usage, places = figure.subplots(1, 2, width_ratios=(3, 2))
    usage.fill_between(np.arange(ids), share, step="mid", color="#2878b5")
    usage.axhline(1, color="0.4", linewidth=0.8, linestyle="--")
    usage.text(ids * 0.99, 1.02, "all alike", ha="right", va="bottom", fontsize=8, color="0.4")
    usage.set(xlabel="ids, most used first", ylabel="use, times the mean", xlim=(0, ids - 1), ylim=0)
    usage.set_title(f"{(counts > 0).sum()} of {ids} ids used{' in all levels' if len(levels) > 1 else ''}", fontsize=10)
    side = int(np.sqrt(bits.size // len(levels)))
    by_level = bits.reshape(len(levels), -1)
    squares = by_level.reshape(-1, side, side) if side * side == by_level.shape[1] else by_level[:, None]
    square = np.hstack(list(squares))
    shown = places.imshow(square, cmap="viridis", vmin=0, vmax=np.log2(sizes.vocabulary), aspect="auto")
    places.set_title(
        f"bits at each place of the grid, {bits.sum():.0f} of {bits.size * np.log2(sizes.vocabulary):.0f}", fontsize=10
    )
    places.set(xticks=[], yticks=[])
    figure.colorbar(shown, ax=places, label="bits per token")
    figure.suptitle(f"{sizes.name} on {title}", fontsize=11)
    figure.savefig(file, dpi=120)
    return file


def rate_distortion(curves: dict[str, list[Point]], file: Path) -> Path:
    """Draw bits per second against error: tokens raw and by their entropy, other codecs by entropy and by zstd."""
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    axes = figure.subplots()
    colours = [
        colour for name in ("tab10", "Dark2", "Set2") for colour in color_sequences[name] if len(set(colour)) > 1
    ]  # not the greys
    for point, colour in zip(sorted(curves["tokens"], key=lambda p: p.joint_error_cm), cycle(colours), strict=False):
        at, bits = [point.joint_error_cm] * 2, [point.bits, point.entropy]
        axes.plot(at, bits, color=colour, linewidth=1, zorder=3)
        axes.plot(at[:1], bits[:1], "s", color=colour, label=point.name.split("@")[0], zorder=4)
        axes.plot(at[1:], bits[1:], "o", color=colour, zorder=4)
    axes.plot([], [], "s", color="0.5", label="tokens, raw")
    axes.plot([], [], "o", color="0.5", label="tokens, first-order entropy")
    others = {name: points for name, points in curves.items() if name != "tokens"}
    for (name, points), grey in zip(others.items(), ("0", "0.4", "0.7")[-len(others) :], strict=True):
        errors = [point.joint_error_cm for point in points]
        axes.plot(errors, [p.entropy for p in points], ".-", color=grey, label=f"{name}, entropy")
        axes.plot(errors, [p.zstd for p in points], ".:", color=grey, label=f"{name}, zstd")
    axes.set(xlabel="mean joint error, cm", ylabel="bit/s per person", xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="both", labelsize=8)
    axes.grid(which="both", color="0.92")
    figure.legend(loc="outside right center", fontsize=8)
    axes.set_title("What motion costs: tokens beside rounded joints, differences coded", fontsize=11)
    figure.savefig(file, dpi=120)
    return file


def training_curves(run: Path, file: Path) -> Path | None:
    """Draw how a run went, from its log.jsonl: every term of the loss, and the figures on unseen recordings.

    A run that was resumed has steps twice; the later ones count. None where the folder has no such log.
    """
    entries = read_log(run)
    if not entries:
        return None
    by_figure: dict[str, dict[str, dict[int, float]]] = {}  # figure, set of recordings, step
    for entry in entries:
        step, unseen = int(entry.pop("step")), entry.pop("unseen", {})
        for name, value in entry.items():
            by_figure.setdefault(name, {}).setdefault("", {})[step] = float(value)
        for place, row in unseen.items():
            for name, value in row.items():
                by_figure.setdefault(f"unseen: {name}", {}).setdefault(place, {})[step] = float(value)
    columns = min(4, len(by_figure))
    lines = -(-len(by_figure) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.4 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for panel, (name, series) in zip(panels, by_figure.items(), strict=False):
        for label, points in series.items():
            steps = sorted(points)
            panel.plot(
                steps, [points[step] for step in steps], ".-" if label else "-", linewidth=1, label=label or None
            )
        if "" not in series:
            panel.legend(fontsize=7)
        panel.set_title(name, fontsize=9)
        panel.tick_params(labelsize=7)
        panel.grid(color="0.92")
    for panel in panels[len(by_figure) :]:
        panel.axis("off")
    figure.suptitle(f"{run.name}, by step", fontsize=11)
    figure.savefig(file, dpi=120)
    return file
