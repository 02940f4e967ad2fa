"""A folder or file of the user's that is called as a package of ours: one line says what is in the way."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from processes import ROOT


def test_a_package_engine_in_the_working_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "__init__.py").write_text("", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "stream.export", "--help"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert f"{tmp_path / 'engine' / '__init__.py'} was found as `engine` instead of kinetoken's" in done.stderr


def test_the_command_does_not_look_into_the_working_folder(tmp_path: Path) -> None:
    for name in ("stream", "engine", "training"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('mine')", encoding="utf-8")
    done = subprocess.run(
        [Path(sysconfig.get_path("scripts")) / "kinetoken", "export", "--help"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "usage: kinetoken export" in done.stdout
