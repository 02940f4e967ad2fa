"""Archives as data sets come in: what a file is by its first bytes, and compressed tars unpacked into memory."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from stream.errors import SourceError

MAX_UNPACKED_BYTES = 1 << 30
"""A compressed tar larger than this unpacked (three people for hours) is refused."""

_OPENERS: dict[str, Callable[[Path], object]] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}

_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"PK\3\4": "zip",
    b"PK\5\6": "zip",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!": "RAR",
}

_CHUNK = 1 << 20


def kind_of(path: Path) -> str | None:
    """Return what a file is: "gzip", "bzip2", "xz", "zip", another archive's name, None for anything else."""
    with path.open("rb") as file:
        head = file.read(8)
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def is_unpacked_here(kind: str) -> bool:
    """Whether `unpack` knows a kind."""
    return kind in _OPENERS


def unpack(path: Path, kind: str) -> tuple[bytes, str | None]:
    """Return the content of a compressed file as far as it goes, and why it breaks off. Raises SourceError, OSError."""
    content = io.BytesIO()
    damage: str | None = None
    try:
        with cast("gzip.GzipFile", _OPENERS[kind](path)) as file:
            while chunk := file.read1(_CHUNK):  # gives all there is before a break
                content.write(chunk)
                if content.tell() > MAX_UNPACKED_BYTES:
                    raise SourceError(f"{path} is too large to be read compressed: unpack it first")
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
        damage = f"its compressed data break off ({error})"
    except OSError as error:
        if error.errno is not None:  # the disk's, not bzip2's
            raise
        damage = f"its compressed data break off ({error})"
    return content.getvalue(), damage


def opener(content: bytes) -> Callable[[], BinaryIO]:
    """Return what opens unpacked content as a file."""
    return lambda: io.BytesIO(content)
