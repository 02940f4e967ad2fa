"""Fixtures shared by the suite."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import engine.backends  # noqa: F401  # before any test imports an engine itself: switches their reports off
from processes import ROOT, Start

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings beside the checkout: `data/` and `models/`."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no real recordings: {SHARED / 'data'} is absent")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what the suite compiles out of the user's cache."""
    before = os.environ.get("KINETOKEN_CACHE")
    os.environ["KINETOKEN_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["KINETOKEN_CACHE"]
    else:
        os.environ["KINETOKEN_CACHE"] = before


@pytest.fixture
def launch() -> Iterator[Start]:
    """Start Python commands, as `launch("-m", "stream.producer", "--demo")`; none is left when the test is over."""
    launched: list[subprocess.Popen[str]] = []

    def begin(*command: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=os.environ | (env or {}), stdout=pipe, stderr=pipe, text=True
        )
        launched.append(process)
        return process

    yield begin
    for process in launched:
        process.kill()
        process.communicate()
