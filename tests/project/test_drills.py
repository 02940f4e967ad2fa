"""The short forms of the drills, and the table that `make drills` prints."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.drills.__main__ import run
from tests.drills.catalogue import DRILLS
from tests.drills.result import BEGIN, END, Figure, Outcome, below, exactly, told, write

ROOT = Path(__file__).resolve().parents[2]

LONG = {"slow", "soak", "stops"}
"""Drills whose short forms say too little for the time they take; test_stopping.py has the stops."""

ORDER = ["first", "second", "third"]


@pytest.mark.parametrize("name", [name for name in DRILLS if name not in LONG])
def test_the_short_form_shows_what_it_must(name: str) -> None:
    outcome = run(name, DRILLS[name], quick=True)
    if outcome.not_run:
        pytest.skip(outcome.not_run)
    # How fast something was says nothing in a suite that may share its machine.
    demanded = [figure for figure in outcome.figures if figure.passed is not None and not figure.timed]
    assert demanded
    assert [figure for figure in demanded if not figure.passed] == []


def outcome(drill: str, seen: int) -> Outcome:
    return Outcome(drill, [exactly("lost", 0, seen), told("packets", "9")], seconds=1.5)


def test_a_drill_that_breaks_down_has_failed() -> None:
    def breaks(plan: object) -> list[Figure]:
        raise TimeoutError("nothing came")

    broken = run("breaks", breaks)
    assert not broken.passed
    assert "nothing came" in broken.figures[0].seen


def test_nothing_seen_is_a_failure() -> None:
    assert below("time", 1.0, float("nan"), "s").passed is False


def test_json_keeps_the_figures_of_drills_that_were_not_run_again(tmp_path: Path) -> None:
    file = tmp_path / "tests.drills.json"
    write(file, [outcome("first", 0), outcome("third", 0)], ORDER)
    write(file, [outcome("third", 2), Outcome("second", not_run="no such command")], ORDER)
    kept = msgspec.json.decode(file.read_bytes(), type=list[Outcome])
    assert [(each.drill, each.passed, each.not_run) for each in kept] == [
        ("first", True, ""),
        ("second", True, "no such command"),
        ("third", False, ""),
    ]


def test_markdown_changes_the_table_alone(tmp_path: Path) -> None:
    file = tmp_path / "reliability.md"
    file.write_text(f"# Before\n\n{BEGIN}\n{END}\n\nafter\n", encoding="utf-8")
    write(file, [outcome("first", 0), outcome("third", 0)], ORDER)
    write(file, [outcome("third", 2), Outcome("second", not_run="no | here")], ORDER)
    text = file.read_text(encoding="utf-8")
    assert text.startswith(f"# Before\n\n{BEGIN}\n| drill |")
    assert text.endswith(f"\n{END}\n\nafter\n")
    assert [line for line in text.splitlines() if line.startswith("| ")] == [
        "| drill | figure | must show | seen |  |",
        "| --- | --- | --- | --- | --- |",
        "| first | lost | 0 | 0 | yes |",
        "| first | packets | - | 9 |  |",
        "| second | not run | - | no / here | not run |",
        "| third | lost | 0 | 2 | NO |",
        "| third | packets | - | 9 |  |",
    ]


def test_the_command_names_the_drills_that_there_are() -> None:
    command = [sys.executable, "-m", "tests.drills", "--only", "nothing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 2
    assert "kills" in done.stderr
