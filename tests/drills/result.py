"""What a drill gives: figures, each with what it must be and what was seen; and the table of them all."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

BEGIN, END = "<!-- drills: begin -->", "<!-- drills: end -->"
HEADINGS = ("drill", "figure", "must show", "seen", "")


class NotRun(Exception):
    """This machine cannot run the drill; the text says why."""


@dataclass(frozen=True)
class Plan:
    """How much of a drill to run: `quick` for the suite; scratch: a folder of its own; minutes: of the long run."""

    scratch: Path
    quick: bool = False
    minutes: float = 30.0


@dataclass(frozen=True)
class Figure:
    """One figure of a drill. passed: None where nothing was demanded. timed: it depends on the machine's speed."""

    name: str
    must: str
    seen: str
    passed: bool | None
    timed: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of one drill: its figures, or why it was not run."""

    drill: str
    figures: list[Figure] = field(default_factory=list)
    not_run: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether nothing that was demanded is missing; a drill that was not run fails nothing."""
        return all(figure.passed is not False for figure in self.figures)


def exactly(name: str, must: object, seen: object) -> Figure:
    """Return a figure that must equal `must`."""
    return Figure(name, str(must), str(seen), seen == must)


def below(name: str, limit: float, seen: float, unit: str) -> Figure:
    """Return a figure that must be under `limit`; nothing seen is written as nan and fails."""
    return Figure(name, f"under {limit:g} {unit}", f"{seen:.3g} {unit}", seen < limit, timed=unit in ("s", "times"))


def at_least(name: str, least: int, seen: int) -> Figure:
    """Return a count that must reach `least`."""
    return Figure(name, f"{least} or more", str(seen), seen >= least)


def told(name: str, seen: str) -> Figure:
    """Return a figure of which nothing is demanded."""
    return Figure(name, "-", seen, None)


def rows(outcomes: list[Outcome]) -> list[tuple[str, ...]]:
    """Return the cells of the table, a row a figure."""
    table: list[tuple[str, ...]] = []
    for outcome in outcomes:
        if outcome.not_run:
            table.append((outcome.drill, "not run", "-", outcome.not_run, "not run"))
        for figure in outcome.figures:
            verdict = {True: "yes", False: "NO", None: ""}[figure.passed]
            table.append((outcome.drill, figure.name, figure.must, figure.seen, verdict))
    return table


def markdown(cells: list[tuple[str, ...]]) -> str:
    """Return a Markdown table with these rows."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *cells]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def write(path: Path, outcomes: list[Outcome], order: list[str]) -> None:
    """Write a JSON file, or the table of a Markdown file; the rows of drills not run this time stay.

    In a Markdown file that has the two marks the table stands between them, and all else stays too.
    """
    if path.suffix == ".json":
        kept = msgspec.json.decode(path.read_bytes(), type=list[Outcome]) if path.exists() else []
        now = {outcome.drill for outcome in outcomes}
        both = [outcome for outcome in kept if outcome.drill not in now] + outcomes
        both.sort(key=lambda outcome: order.index(outcome.drill) if outcome.drill in order else len(order))
        path.write_bytes(msgspec.json.format(msgspec.json.encode(both), indent=1) + b"\n")
        return
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    head, begin, rest = text.partition(BEGIN)
    old, end, tail = rest.partition(END)
    if not (begin and end):
        head, old, tail = "", text, ""
    cells = _merge(old, outcomes, order)
    table = markdown(cells)
    path.write_text(f"{head}{BEGIN}\n{table}{END}{tail}" if begin and end else table, encoding="utf-8")


def _merge(old: str, outcomes: list[Outcome], order: list[str]) -> list[tuple[str, ...]]:
    before = [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in old.splitlines() if line[:1] == "|"]
    now = {outcome.drill for outcome in outcomes}
    kept = [cells for cells in before[2:] if cells[0] not in now]
    return sorted(kept + rows(outcomes), key=lambda cells: order.index(cells[0]) if cells[0] in order else len(order))
