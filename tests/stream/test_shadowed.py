"""A folder or file of the user's that is called as a package of ours: one line says what is in the way."""

import os
import subprocess
import sys
from pathlib import Path

from processes import ROOT


def test_a_package_engine_in_the_working_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "__init__.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "stream.export", "--help"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert f"{tmp_path / 'engine' / '__init__.py'} was found as `engine` instead of kinetoken's" in done.stderr
