"""Finds the pose model: a file the user names, the cache, or Google's published one, downloaded once."""

import errno
import hashlib
import logging
import os
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import pooch

from engine.cache import VARIABLE as CACHE
from engine.cache import cache_path
from stream.errors import PoseModelError

NAME = "pose_landmarker_full.task"

PUBLISHED = (
    "https://storage.googleapis.com/mediapipe-models/pose_landmarker/pose_landmarker_full/float16/latest/" + NAME
)

VARIABLE = "KINETOKEN_POSE_MODEL"
"""Environment variable that names a model file."""

TIMEOUT = 30.0
"""Seconds without an answer after which a download is given up."""

_PARTS = {"pose_detector.tflite", "pose_landmarks_detector.tflite"}

_NO_PLACE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR)

_log = logging.getLogger(__name__)


def find_pose_model(path: str | Path | None = None, *, cache: Path | None = None, url: str = PUBLISHED) -> Path:
    """Return the model file: `path`, else what `VARIABLE` names, else the one in the cache, else a download.

    cache: folder, by default the user's. A download is kept there with its SHA-256 beside it, which is checked
    on every start; a file that no longer fits is downloaded anew.

    Raises PoseModelError when the file is missing or no pose model, or the download fails.
    """
    found, fault = look_for_pose_model(path, cache)
    if fault is None:
        return found
    if found.exists():
        _log.warning("%s %s: downloading it anew", found, fault)
    return _download(url, found)


def look_for_pose_model(path: str | Path | None = None, cache: Path | None = None) -> tuple[Path, str | None]:
    """Return where `find_pose_model` takes the model from and, if it would download it there, why.

    Raises PoseModelError when a file that was named is missing or no pose model.
    """
    if path is not None:
        return _named(Path(path), "--pose-model"), None
    if named := os.environ.get(VARIABLE):
        return _named(Path(named), VARIABLE), None
    cached = cache / NAME if cache else cache_path(NAME)
    if not cached.exists():
        return cached, "is not there yet"
    return cached, _fault(cached) or _check_hash(cached)


def _named(path: Path, where: str) -> Path:
    if not path.is_file():
        raise PoseModelError(f"no pose model at {path} ({where}): give the path of {NAME} from {PUBLISHED}")
    if fault := _fault(path):
        raise PoseModelError(f"{path} ({where}) {fault}: get it again from {PUBLISHED}")
    return path


def _fault(path: Path) -> str | None:
    """What keeps the file from being a whole MediaPipe bundle of a pose model."""
    try:
        with zipfile.ZipFile(path) as bundle:
            missing = _PARTS - set(bundle.namelist())
    except (zipfile.BadZipFile, OSError) as error:
        return f"is damaged or no pose model ({error})"
    return f"is not a pose model (it lacks {', '.join(sorted(missing))})" if missing else None


def _check_hash(path: Path) -> str | None:
    """What is wrong with the file by the hash kept beside it; one without a hash, put there by hand, gets it."""
    kept, digest = _hash_file(path), _sha256(path)
    try:
        words = kept.read_text(encoding="ascii", errors="replace").split()
    except FileNotFoundError:
        with suppress(OSError):  # a folder that may only be read will do
            _keep_hash(path, digest)
        return None
    return None if words[:1] == [digest] else f"does not have the hash kept in {kept.name}"


def _download(url: str, cached: Path) -> Path:
    by_hand = f"download {PUBLISHED} by hand, then pass it as --pose-model or put it at {cached}"
    print(f"pose model: downloading {url}", file=sys.stderr)
    pooch.get_logger().setLevel(logging.WARNING)  # shows the hash itself, as advice to programmers
    fresh = cached.with_suffix(f".{os.getpid()}.part")
    try:
        pooch.retrieve(
            url,
            known_hash=None,
            fname=fresh.name,
            path=cached.parent,
            downloader=pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT),
        )
        if fault := _fault(fresh):
            raise PoseModelError(f"what {url} gave {fault}: {by_hand}")
        digest = _sha256(fresh)
        _keep_hash(cached, digest)
        fresh.replace(cached)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        if isinstance(error, OSError) and error.errno in _NO_PLACE:
            raise PoseModelError(
                f"no place to keep the pose model ({_brief(error)}): set {CACHE} to a folder that can be written to, "
                f"or download {PUBLISHED} by hand and pass it as --pose-model"
            ) from error
        raise PoseModelError(f"the pose model cannot be downloaded ({_brief(error)}): {by_hand}") from error
    finally:
        with suppress(OSError):
            fresh.unlink()
    print(f"pose model: {cached}, sha256 {digest}", file=sys.stderr)
    return cached


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _keep_hash(path: Path, digest: str) -> None:
    _hash_file(path).write_text(f"{digest}  {path.name}\n", encoding="ascii")
