"""`kinetoken`: every command by one name, each with help, its exit codes and a page that lists them all."""

import importlib.util
import re
from importlib import import_module
from importlib.metadata import version

import pytest

from engine.command.cli import exit_codes_of
from engine.command.main import MODULES, main
from engine.errors import EXIT_CODES
from processes import ROOT

PRESENT = {name: module for name, module in MODULES.items() if importlib.util.find_spec(module)}


def test_every_command_of_the_packages_has_a_name() -> None:
    files = (file for package in ("engine", "stream", "training") for file in (ROOT / package).rglob("*.py"))
    runnable = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for file in files
        if re.search(r'^if __name__ == "__main__":\n    sys\.exit', file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert runnable <= {module.removesuffix(".__main__") for module in MODULES.values()}


@pytest.mark.parametrize("name", PRESENT)
def test_every_command_helps(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main([name, "--help"])
    except SystemExit as end:  # as argparse has it
        code = int(end.code or 0)
    assert code == 0
    text = capsys.readouterr().out
    assert f"usage: kinetoken {name}" in text
    if hasattr(module := import_module(MODULES[name]), "Config"):
        for code in exit_codes_of(module.Config):
            assert EXIT_CODES[code] in " ".join(text.split())


def test_the_options_that_everyone_needs_come_first(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["producer", "--help"])
    text = capsys.readouterr().out
    headings = re.findall(r"^([a-z ]+):$", text, re.MULTILINE)
    assert headings[:2] == ["most used", "source"]
    assert len(set(headings)) == len(headings)
    assert headings.index("options") > headings.index("network")


def test_an_unknown_flag_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "heatmap2d-f8", "--log-formt", "json"]) == 2
    err = capsys.readouterr().err
    assert "did you mean --log-format?" in err
    assert err.count("\n") == 1


def test_a_command_that_there_is_not_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["produce"]) == 2
    assert capsys.readouterr().err == "error: kinetoken has no command 'produce': did you mean producer?\n"
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"kinetoken {version('kinetoken')}\n"
    assert main([]) == 0
    told = capsys.readouterr().out
    assert all(f"  {name} " in told for name in MODULES)


def test_the_page_lists_every_code_as_the_commands_have_it() -> None:
    page = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| (.*?) \|", page, re.MULTILINE))
    assert rows == {str(code): told for code, told in EXIT_CODES.items()}
