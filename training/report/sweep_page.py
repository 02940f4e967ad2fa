"""The page of a sweep: its tables and figures in Markdown, from the results of its rows."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from training import markdown
from training.evaluation.rate_distortion import curves
from training.evaluation.rate_distortion import table as table_of_points
from training.report.plots import rate_distortion
from training.report.tables import SweepConfig, TableConfig, slug

Results = Mapping[str, Mapping[str, Any]]

HIGHER_IS_BETTER = frozenset({"ssim", "psnr", "pck"})

COMPARED = frozenset({"ssim", "t_std", "joint_error_cm", "velocity_error_cm_s", "jerk_error_m_s3"})
"""Figures whose change is said in a sentence below a table that has them."""

TITLES = {
    "ssim": "SSIM",
    "psnr": "PSNR, dB",
    "l1": "L1",
    "t_std": "T-Std",
    "joint_error_cm": "joint error, cm",
    "joint_error_p95_cm": "joint error, 95th percentile, cm",
    "velocity_error_cm_s": "velocity error, cm/s",
    "jerk_error_m_s3": "jerk error, m/s³",
    "pck": "PCK@0.05",
    "vocabulary_used": "ids used",
    "bits_per_second": "bit/s",
    "bits_per_second_entropy": "bit/s, entropy",
}


def write_page(sweep: SweepConfig, results: Results, root: Path, final: bool) -> None:
    """Write the page, and the figures into a folder of its name. final: also what needs every row, bits against error.

    Rows without a result are named as missing.
    """
    page = Path(sweep.page)
    folder = sweep.pictures
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Results", "", *([sweep.about.strip(), ""] if sweep.about else []), *_conditions(sweep, results), ""]
    for number, table in enumerate(sweep.tables, 1):
        lines += [f"## {table.title}", "", *([table.about.strip(), ""] if table.about else [])]
        if table.columns:
            lines += _tables(table, number, sweep, results, folder)
        if table.figure == "rate-distortion" and final:
            lines += _bits_against_error(table, results, sweep, root, folder)
    lines += _probes(results)
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _tables(table: TableConfig, number: int, sweep: SweepConfig, results: Results, folder: Path) -> list[str]:
    """Return a table for every set, and the figure of them all."""
    lines = []
    for place in sweep.evaluate:
        lines += _table(table, place, results)
        lines += _against(table, place, results)
    if any(_result(entry, results) for entry in table.rows):
        bars(table, sweep.evaluate, results, folder / f"table-{number}.png")
        lines += [f"![{table.title}]({folder.name}/table-{number}.png)", ""]
    for name in (entry["row"] for entry in table.rows if entry.get("pictures")):
        files = sorted((folder / slug(name)).glob("*.png"))
        lines += [f"![{name}: {file.stem}]({file.relative_to(folder.parent).as_posix()})" for file in files]
        lines += [""] if files else []
    return lines


def _conditions(sweep: SweepConfig, results: Results) -> list[str]:
    """Say on what, from what and for how long the rows were trained."""
    trained = [entry for entry in results.values() if "steps" in entry]
    if not trained:
        return ["No row is trained yet."]
    machines = sorted({f"{e['machine']['cpu']}, {e['machine']['cores']} cores" for e in trained})
    gpus = sorted({gpu for e in trained for gpu in e["machine"]["gpus"]})
    steps = sorted({e["steps"] for e in trained})
    seeds = sorted({e["seed"] for e in trained})
    sets = sorted({name for e in trained for name in e["trained_on"]})
    hours = sum(e["training_seconds"] for e in trained) / 3600
    codes = sorted({e["code"] for e in trained})
    recordings = "every recording" if sweep.every == 1 else f"one of {sweep.every} recordings"
    return [
        f"Made by `python -m training.sweep`: tokenizers trained on {', '.join(sets)}, "
        f"{_range(steps)} steps of {trained[0]['batch']} windows, seed {', '.join(map(str, seeds))}, "
        f"{hours:.1f} hours in all on {'; '.join(machines + gpus)}; code {', '.join(codes)}. Judged on "
        f"{recordings} of {', '.join(sweep.evaluate)}, none of which was trained on.",
        "",
        "SSIM, PSNR, L1 and T-Std (temporal instability, lower is steadier) are of the heatmaps, as arXiv 2509.19252 "
        "defines them; the joint error is the mean distance of a decoded joint from what went in; an id's entropy is "
        "first-order, place by place. `published` is that paper's figure, on its own data and at its own size: not "
        "to be compared one by one.",
    ]


def _range(values: Sequence[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _result(entry: Mapping[str, Any], results: Results) -> Mapping[str, Any] | None:
    return results.get(entry.get("same", entry["row"]))


def _table(table: TableConfig, place: str, results: Results) -> list[str]:
    published = [c for c in table.columns if any(c in e.get("published", {}) for e in table.rows)]
    titles = [TITLES.get(c, c.replace("_", " ")) for c in table.columns]
    titles += [f"{TITLES.get(c, c)}, published" for c in published]
    rows = []
    for entry in table.rows:
        result = _result(entry, results)
        found = result["figures"][place] if result else {}
        cells = [_cell(c, found.get(c)) if result else "not trained" for c in table.columns]
        cells += [str(entry.get("published", {}).get(c, "")) for c in published]
        rows.append([entry["row"], *cells])
    return [f"On {place}:", "", *markdown.table(["", *titles], rows), ""]


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "none"
    digits = {"ssim": 4, "l1": 5, "t_std": 4, "pck": 4}.get(name, 2 if abs(value) < 100 else 0)
    return f"{value:.{digits}f}"


def _against(table: TableConfig, place: str, results: Results) -> list[str]:
    """Say how far each row is from the one that the table compares to."""
    names = {entry["row"]: entry for entry in table.rows}
    base = _result(names[table.against], results) if table.against else None
    if base is None:
        return []
    lines = []
    for name, entry in names.items():
        result = _result(entry, results)
        if name == table.against or result is None:
            continue
        changes = [
            f"{TITLES.get(c, c)} {change:+.1f} % ({'better' if (change > 0) == (c in HIGHER_IS_BETTER) else 'worse'})"
            for c in (column for column in table.columns if column in COMPARED)
            if (change := _change(result["figures"][place].get(c), base["figures"][place].get(c))) is not None
        ]
        lines.append(f"- {name} against {table.against}: {', '.join(changes)}")
    return [*lines, ""] if lines else []


def _change(value: float | None, base: float | None) -> float | None:
    return 100 * (value / base - 1) if value is not None and base else None


def bars(table: TableConfig, places: Sequence[str], results: Results, file: Path) -> None:
    """Draw the first columns of a table as bars, a panel each, a bar for every set."""
    rows = [(entry["row"], result) for entry in table.rows if (result := _result(entry, results))]
    columns = table.columns[:4]
    figure = Figure(figsize=(3.2 * len(columns) + 1.5, 0.45 * len(rows) + 1.7), layout="constrained")
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for panel, column in zip(panels, columns, strict=True):
        for number, (place, colour) in enumerate(zip(places, ("#2878b5", "#c23b22", "#6a9f4f"), strict=False)):
            values = [result["figures"][place].get(column) for _, result in rows]
            at = [n + (number - (len(places) - 1) / 2) * 0.8 / len(places) for n in range(len(rows))]
            drawn = [(y, v) for y, v in zip(at, values, strict=True) if v is not None]
            panel.barh([y for y, _ in drawn], [v for _, v in drawn], 0.8 / len(places), color=colour, label=place)
        panel.set_title(TITLES.get(column, column.replace("_", " ")), fontsize=10)
        panel.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=8)
        panel.grid(axis="x", color="0.92")
        panel.set_axisbelow(True)
        panel.tick_params(axis="x", labelsize=8)
        panel.locator_params(axis="x", nbins=5)
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(places), fontsize=8)
    figure.savefig(file, dpi=110)


def _bits_against_error(
    table: TableConfig, results: Results, sweep: SweepConfig, root: Path, folder: Path
) -> list[str]:
    """Measure and draw the table's rows that decode joints beside rounded joints, by set, 2D and 3D each by itself."""
    lines = []
    for dims, place in product((2, 3), sweep.evaluate):
        tokenizers = [
            result["where"]
            for entry in table.rows
            if (result := _result(entry, results))
            and result["dims"] == dims
            and "joint_error_cm" in result["figures"][place]
        ]
        if not tokenizers:
            continue
        found = curves(tokenizers, [root / place], sweep.every)
        file = folder / f"rate-distortion-{dims}d-{slug(place)}.png"
        rate_distortion(found, file)
        lines += [f"{dims}D, on {place}:", "", table_of_points(found), ""]
        lines += [f"![bits against error, {dims}D, {place}]({folder.name}/{file.name})", ""]
    return lines


def _probes(results: Results) -> list[str]:
    probed = {name: result["probe"] for name, result in results.items() if result.get("probe")}
    if not probed:
        return []
    lines = ["## What the tokens say of the motion", ""]
    lines += [
        "A logistic regression on how often each id occurs in a recording, beside the same on the joints themselves: "
        "accuracy on recordings it was not fitted to, five parts.",
        "",
    ]
    rows = [
        [name, place, *(f"{found[key]:.3f}" for key in ("accuracy_tokens", "accuracy_joints", "largest_share"))]
        for name, sets in probed.items()
        for place, found in sets.items()
    ]
    titles = ["", "set", "tokens", "joints", "always the largest content"]
    return [*lines, *markdown.table(titles, rows), ""]
