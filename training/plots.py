"""Diagrams for people: errors on a body, use of the codebook, bits against error, curves of a training run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from stream.motion.skeleton import BONES, JOINTS
from training.codecs import Sizes
from training.metrics import entropy
from training.ratedistortion import Point
from training.roundtrip import Tokens, Track

STANDING = np.array(
    [
        (0, 160), (3, 164), (-3, 164), (8, 162), (-8, 162), (19, 140), (-19, 140), (42, 122), (-42, 122),
        (60, 104), (-60, 104), (11, 92), (-11, 92), (14, 50), (-14, 50), (17, 8), (-17, 8),
    ]
)  # fmt: skip
"""A body to draw on, seen from the front: [17, 2] in cm, up."""


def body(tracks: Sequence[Track], sizes: Sizes, title: str, file: Path) -> Path:
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


def codebook(tokens: Tokens, sizes: Sizes, title: str, file: Path) -> Path:
    """Draw how often each id is used, and the bits that each place of the token grid says."""
    flat = tokens.reshape(len(tokens), -1)
    counts = np.bincount(flat.ravel().astype(np.int64), minlength=sizes.vocabulary)
    share = np.sort(counts)[::-1] / counts.sum() * sizes.vocabulary
    bits = np.array([entropy(np.unique(column, return_counts=True)[1]) for column in flat.T])
    figure = Figure(figsize=(10, 4), layout="constrained")
    usage, places = figure.subplots(1, 2, width_ratios=(3, 2))
    usage.fill_between(np.arange(sizes.vocabulary), share, step="mid", color="#2878b5")
    usage.axhline(1, color="0.4", linewidth=0.8, linestyle="--")
    usage.text(sizes.vocabulary * 0.99, 1.02, "all alike", ha="right", va="bottom", fontsize=8, color="0.4")
    usage.set(xlabel="ids, most used first", ylabel="use, times the mean", xlim=(0, sizes.vocabulary - 1), ylim=0)
    usage.set_title(
        f"{(counts > 0).sum()} of {sizes.vocabulary} ids used, perplexity {2 ** entropy(counts):.0f}", fontsize=10
    )
    side = int(np.sqrt(bits.size))
    square = bits.reshape(side, side) if side * side == bits.size else bits.reshape(1, -1)
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
    """Draw bits per second against error: tokens raw and by their entropy, rounded joints by entropy and by zstd."""
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots()
    for (name, points), colour in zip(curves.items(), ("#c23b22", "#2878b5", "#6a9f4f", "#7a5195"), strict=False):
        errors = [point.joint_error_cm for point in points]
        if name == "tokens":
            axes.scatter(errors, [p.bits for p in points], marker="s", color=colour, label="tokens, raw", zorder=3)
            axes.scatter(errors, [p.entropy for p in points], marker="o", color=colour, zorder=3,
                         label="tokens, first-order entropy")  # fmt: skip
            for point in points:
                axes.annotate(point.name.split("@")[0], (point.joint_error_cm, point.bits), (6, 4),
                              textcoords="offset points", fontsize=8)  # fmt: skip
                axes.vlines(point.joint_error_cm, point.entropy, point.bits, color=colour, linewidth=0.8)
        else:
            axes.plot(errors, [p.entropy for p in points], ".-", color=colour, label=f"{name}, first-order entropy")
            axes.plot(errors, [p.zstd for p in points], ".:", color=colour, label=f"{name}, zstd")
    axes.set(xlabel="mean joint error, cm", ylabel="bit/s per person", yscale="log", xlim=0)
    axes.yaxis.set_major_formatter("{x:.0f}")
    axes.yaxis.set_minor_formatter("{x:.0f}")
    axes.tick_params(axis="y", which="both", labelsize=8)
    axes.grid(which="both", color="0.92")
    axes.legend(fontsize=8)
    axes.set_title("What motion costs: tokens beside rounded joints, differences coded", fontsize=11)
    figure.savefig(file, dpi=120)
    return file


def training_curves(run: Path, file: Path) -> Path | None:
    """Draw how a run went, from its log.jsonl: every term of the loss, and the figures on unseen recordings.

    A run that was resumed has steps twice; the later ones count. None where the folder has no such log.
    """
    entries = _log_of(run)
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


def _log_of(run: Path) -> list[dict[str, Any]]:
    """Return the entries of a run's log; a last line that was cut off, as by a loss of power, is left out."""
    log = run / "log.jsonl"
    entries = []
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else []:
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries
