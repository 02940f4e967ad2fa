"""Where what was built or fetched on this machine is kept, for this user alone."""

import os
from pathlib import Path

import platformdirs

VARIABLE = "KINETOKEN_CACHE"
"""Environment variable that names another folder."""


def cache_path(part: str) -> Path:
    """Return where one kind of kept things lies, or would lie."""
    return Path(os.environ.get(VARIABLE) or platformdirs.user_cache_path("kinetoken")) / part


def cache_folder(part: str) -> Path:
    """Return the folder of one kind of built things, made if need be, with mode 0700.

    A folder that was there with more rights loses them: what somebody else has built must not be run. Raises OSError
    where it cannot be made.
    """
    folder = cache_path(part)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder
