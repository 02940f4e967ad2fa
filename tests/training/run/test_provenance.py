"""Where a training run says that it comes from."""

import subprocess
from importlib.metadata import version
from pathlib import Path

from training.run.provenance import code_version


def git(folder: Path, *arguments: str) -> None:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    subprocess.run(command, check=True, capture_output=True)


def test_changed_code_is_said_and_a_written_page_is_none(tmp_path: Path) -> None:
    code, page = tmp_path / "training" / "run" / "provenance.py", tmp_path / "docs" / "results.md"
    for file in (code, page):
        file.parent.mkdir(parents=True)
        file.write_text("as it was", encoding="utf-8")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    clean = code_version(tmp_path)
    assert len(clean) >= 7
    page.write_text("a new row", encoding="utf-8")
    assert code_version(tmp_path) == clean
    code.write_text("something else", encoding="utf-8")
    assert code_version(tmp_path) == f"{clean}-dirty"


def test_code_in_the_repository_of_something_else_is_known_by_its_package(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    installed = tmp_path / "site-packages"
    installed.mkdir()
    assert code_version(installed) == version("kinetoken")
