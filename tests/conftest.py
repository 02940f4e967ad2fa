"""Fixtures shared by the suite."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings beside the checkout: `data/` and `models/`."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no real recordings: {SHARED / 'data'} is absent")
    return SHARED
