"""Tokenizers from afar: a reader needs nothing but the producer's address to decode."""

import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from engine.cache import cache_path
from engine.graph_check import check_graph
from engine.spec import FILES, PRETRAINED, SUMS, load_tokenizer
from engine.trial import try_out
from stream.errors import TokenizerError
from stream.subscribe.control_client import Asker
from stream.wire.requests import CHUNK, Chunk, ChunkReply, FileInfo, Files, FilesReply, Refusal, Reply, Request

LARGEST = 256 * 1024 * 1024
"""Bytes of all files of a tokenizer that are fetched at most."""

KEPT_BYTES = 1024 * 1024 * 1024
"""Bytes of fetched tokenizers that are kept; beyond them those go that were used longest ago."""

KEPT = 64
"""Fetched tokenizers that are kept."""

TRIED = "tried"
"""Marks a fetched tokenizer whose decoder was tried (`engine.trial`)."""

TRIES = 3
"""How often a request without an answer is made again."""

R = TypeVar("R", FilesReply, ChunkReply)


class _Name(msgspec.Struct):
    name: str
    weights_hash: str


def find_tokenizer(label: str, asker: Asker | None) -> str:
    """Return the name of the shipped tokenizer with this label, or the folder of one fetched from its producer.

    Without a control socket to ask, the name alone. Raises TokenizerError where it cannot be had or is damaged.
    """
    name = label.partition("@")[0]
    if asker is None or _shipped_label(name) == label:
        return name
    return str(fetch_tokenizer(label, asker))


def fetch_tokenizer(label: str, asker: Asker, cache: Path | None = None) -> Path:
    """Return the folder of a tokenizer whose files come from a producer, or were fetched before.

    cache: where fetched ones are kept, one folder each, named by the hash of all their files; by default the user's.
    Every file is checked against the producer's hash, and all of them as those of a tokenizer. Raises TokenizerError.
    """
    cache = cache or cache_path("tokenizers")
    listed = _ask(asker, Files(id=0, tokenizer=label), FilesReply, label).files
    names = {file.name for file in listed}
    if not {*FILES, SUMS} <= names or len(names) < len(listed) or sum(file.size for file in listed) > LARGEST:
        raise TokenizerError(f"the producer offers no whole tokenizer {label}: update it, or give one with --tokenizer")
    told = "".join(f"{file.sha256}  {file.name}\n" for file in sorted(listed, key=lambda file: file.name))
    # By the hash of all files: no producer can slip another one a decoder under a known label.
    folder = cache / hashlib.sha256(told.encode()).hexdigest()
    if not folder.is_dir():
        _make_room(cache, sum(file.size for file in listed))
        _fetch(label, asker, listed, folder)
    with suppress(OSError):  # a cache that is only read stays as it is
        os.utime(folder)  # used now
    kept = load_tokenizer(folder)
    if not (folder / TRIED).exists():  # an earlier version may have fetched it
        _try(folder, label, asker)
    spec = kept.spec
    if spec.label != label:
        raise TokenizerError(f"the producer offers {spec.label} as {label}: give the right one with --tokenizer")
    return folder


def _make_room(cache: Path, size: int) -> None:
    """Let go of the fetched tokenizers that were used longest ago, so that one more of `size` bytes fits in."""
    with suppress(OSError):  # another reader may be at it, too
        kept = sorted((folder for folder in cache.iterdir() if folder.is_dir()), key=lambda each: each.stat().st_mtime)
        sizes = [sum(file.stat().st_size for file in folder.iterdir()) for folder in kept]
        while kept and (len(kept) >= KEPT or sum(sizes) + size > KEPT_BYTES):
            shutil.rmtree(kept.pop(0), ignore_errors=True)
            del sizes[0]


def _fetch(label: str, asker: Asker, listed: tuple[FileInfo, ...], folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix="part-"))  # for nobody but us: mode 0700
        try:
            for file in listed:
                _fetch_file(label, asker, file, part / file.name)
            _try(part, label, asker)
            if not folder.is_dir():  # another reader may have been faster
                os.replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        if not folder.is_dir():
            raise TokenizerError(
                f"cannot keep the tokenizer {label} in {folder.parent}: {error.strerror or error}: mend that, "
                "or give a tokenizer with --tokenizer"
            ) from error


def _try(folder: Path, label: str, asker: Asker) -> None:
    """Raise TokenizerError unless the decoder does no more than decode, in time and memory that are bounded."""
    check_graph(load_tokenizer(folder).graph("decoder"))
    try:
        try_out(folder, lambda: asker.abandoned)
    except TokenizerError as error:
        raise TokenizerError(f"the tokenizer {label} of this producer is not used: {error}") from None
    with suppress(OSError):
        (folder / TRIED).touch()


def _fetch_file(label: str, asker: Asker, file: FileInfo, path: Path) -> None:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as out:
        while size < file.size:
            data = _ask(asker, Chunk(id=0, tokenizer=label, file=file.name, offset=size), ChunkReply, label).data
            if len(data) != min(CHUNK, file.size - size):
                break
            out.write(data)
            digest.update(data)
            size += len(data)
    if size != file.size or digest.hexdigest() != file.sha256:
        raise TokenizerError(f"{file.name} of {label} came damaged from the producer: try again")


def _ask(asker: Asker, request: Request, kind: type[R], label: str) -> R:
    reply: Reply | None = None
    for _ in range(TRIES):
        reply = asker.wait(request)
        if isinstance(reply, kind):
            return reply
        if reply is not None:
            break
    why = reply.text if isinstance(reply, Refusal) else "it does not answer"
    raise TokenizerError(
        f"the tokenizer {label} is not here and cannot be had from the producer ({why}): "
        "give its directory with --tokenizer"
    )


def _shipped_label(name: str) -> str | None:
    file = PRETRAINED / name / "config.json"
    if not file.is_file():
        return None
    about = msgspec.json.decode(file.read_bytes(), type=_Name)
    return f"{about.name}@{about.weights_hash[:12]}"
