"""The walls of the house: which package and which folder may import which, and that nothing imports in a circle.

Every import counts, those inside functions and those for the types alone too.
"""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from processes import ROOT

PACKAGES = ("engine", "stream", "training")

ALLOWED = {
    "engine": (),
    "stream": ("engine",),
    "training": ("engine", "stream.motion", "stream.codec", "stream.tokenizer"),
}
"""What each package may import besides itself."""

STREAM = (
    ("motion",),
    ("sources", "pose", "codec", "wire"),
    ("publish", "subscribe", "log"),
    ("command",),
)
"""The folders of stream/, from the ground up."""


def modules() -> dict[str, Path]:
    """Every module of the three packages, by name."""
    files = (file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py")))
    return {name_of(file.relative_to(ROOT)): file for file in files}


def name_of(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = modules()


def imported_by(file: Path) -> Iterator[str]:
    """The modules of ours that a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            base = node.module or ""
            names = [inner if (inner := f"{base}.{alias.name}") in MODULES else base for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] in PACKAGES)


IMPORTS = {name: sorted(set(imported_by(file)) - {name}) for name, file in MODULES.items()}


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """The nodes of a circle of a graph; none where it has no circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [str(node) for node in error.args[1]]
    return []


def test_every_import_is_of_a_module_that_is_there() -> None:
    assert {name for names in IMPORTS.values() for name in names} <= MODULES.keys()


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    allowed = (package, *ALLOWED[package])
    strange = {
        (module, name)
        for module, names in IMPORTS.items()
        if module.partition(".")[0] == package
        for name in names
        if not any(f"{name}.".startswith(f"{each}.") for each in allowed)
    }
    assert not strange


def test_no_module_imports_in_a_circle() -> None:
    assert circle({module: set(names) for module, names in IMPORTS.items()}) == []


def room(module: str) -> str:
    """The folder of a module; a module at the top of its package is a room of its own, and so is a package."""
    file = MODULES[module].relative_to(ROOT)
    return module if len(file.parts) <= 2 else ".".join(file.parent.parts)


ROOMS: dict[str, set[str]] = {room(module): set() for module in MODULES}
for module, names in IMPORTS.items():
    ROOMS[room(module)] |= {room(name) for name in names} - {room(module)}


def test_no_folder_is_both_above_and_below_another() -> None:
    assert circle(ROOMS) == []


@pytest.mark.parametrize("level", range(len(STREAM)))
def test_the_folders_of_the_live_system_import_downwards(level: int) -> None:
    above = {f"stream.{name}" for rooms in STREAM[level + 1 :] for name in rooms}
    for folder in STREAM[level]:
        assert ROOMS[f"stream.{folder}"].isdisjoint(above), folder


COMMANDS = {
    name for name, file in MODULES.items() if len(name.split(".")) == 2 and "__main__" in file.read_text("utf-8")
} | {"stream.view"}
"""Modules that are run, and so stand on everything."""


def test_only_commands_import_what_commands_share() -> None:
    assert {name for name, below in ROOMS.items() if "stream.command" in below} <= COMMANDS
