"""Fixtures shared by the suite."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import engine.backends  # noqa: F401  # before any test imports an engine itself: switches their reports off

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
