"""What a compiled engine was made of and for, written beside it, and whether it fits the machine at hand.

    NAME-HASH-FLAVOUR-VERSION-TARGET-PRECISION-bN/  encoder.engine  decoder.engine  manifest.json

An engine is code: its folder belongs to the user alone, and one that others can write is not loaded.
"""

import hashlib
import os
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.backends.base import Precision
from engine.cache import cache_folder
from engine.errors import EngineError
from engine.spec import Part, TokenizerFiles, sha256
from engine.tensorrt.library import EXTRA, FlavourName

FILE = "manifest.json"
ENGINES = "tensorrt"
"""Their folder in the user's cache."""

FORMAT = 1
PARTS: tuple[Part, ...] = ("encoder", "decoder")


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output. shape: -1 for the batch; dtype: as numpy names it."""

    shape: tuple[int, ...]
    dtype: str


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Batch sizes an engine takes: the least, the one it is tuned for, the most."""

    least: int
    tuned: int
    most: int


class PartManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One compiled graph. onnx, engine: sha256 of the graph it was made of and of the engine's file."""

    onnx: str
    engine: str
    size: int
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """manifest.json. capabilities: compute capabilities it runs on; gpu: the only model it runs on, or None;
    calibration: of int8, sha256 of the hashes of the recordings."""

    format: int
    tokenizer: str
    weights_hash: str
    flavour: FlavourName
    version: str
    precision: Precision
    capabilities: tuple[str, ...]
    gpu: str | None
    profile: Profile
    workspace_mib: int
    calibration: str | None
    parts: dict[Part, PartManifest]

    @property
    def target(self) -> str:
        """What it runs on, in words."""
        return f"{self.gpu} ({', '.join(self.capabilities)})" if self.gpu else ", ".join(self.capabilities)


@dataclass(frozen=True)
class Here:
    """What a machine has. versions: of every TensorRT installed; capability, gpu: of its GPU, such as "8.9"."""

    versions: Mapping[str, str]
    capability: str
    gpu: str


def engines_folder() -> Path:
    """Return the folder of this user's engines. Raises EngineError where it cannot be made."""
    try:
        return cache_folder(ENGINES)
    except OSError as error:
        raise EngineError(
            f"cannot create the engine cache: {error}. Set KINETOKEN_CACHE to a writable folder"
        ) from None


def has_engines() -> bool:
    """Whether any engine was ever built into this user's cache, fit or not."""
    try:
        return any(engines_folder().glob(f"*/{FILE}"))
    except EngineError:
        return False


def read_manifest(folder: Path) -> Manifest:
    """Read and check a manifest. Raises EngineError where there is none or it is damaged."""
    try:
        found = msgspec.json.decode((folder / FILE).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise EngineError(f"no engine in {folder}: it holds no {FILE}; python -m engine.build makes one") from None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EngineError(f"{folder / FILE} cannot be read ({error}): build the engine again") from None
    if found.format != FORMAT or set(found.parts) != set(PARTS):
        raise EngineError(f"{folder / FILE} is of another version of kinetoken: build the engine again")
    return found


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json."""
    (folder / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def rebuild(what: str, precision: str, capability: str | None = None) -> str:
    """Return the command that makes an engine. what: a tokenizer's name or folder."""
    arch = f" --gpu-arch {capability}" if capability else ""
    return f"python -m engine.build --tokenizer {shlex.quote(what)} --backend tensorrt --precision {precision}{arch}"


def misfit(manifest: Manifest, here: Here, what: str) -> str | None:
    """Say why an engine does not fit a machine, and how to mend it; None where it fits.

    what: the name or folder of the tokenizer that it was made of.
    """
    again = f"build again: {rebuild(what, manifest.precision)}"
    version = here.versions.get(manifest.flavour)
    if version is None:
        return f"it needs {manifest.flavour}, which is not installed: pip install '{EXTRA[manifest.flavour]}'"
    if version != manifest.version:
        return f"it was built with {manifest.flavour} {manifest.version}, but {version} is installed; {again}"
    if here.capability not in manifest.capabilities:
        portable = here.capability if manifest.flavour == "tensorrt_rtx" else None
        again = f"build again: {rebuild(what, manifest.precision, portable)}"
        return f"it was built for {manifest.target}, this {here.gpu} has compute capability {here.capability}; {again}"
    if manifest.gpu is not None and manifest.gpu != here.gpu:
        return f"it was built on {manifest.gpu}, but this machine has {here.gpu}; {again}"
    return None


def stale(manifest: Manifest, tokenizer: TokenizerFiles, precision: Precision) -> str | None:
    """Say why an engine is not one of this tokenizer as it is now; None where it is."""
    if manifest.weights_hash != tokenizer.spec.weights_hash:
        return f"it was built from other weights ({manifest.weights_hash[:12]})"
    if manifest.precision != precision:
        return f"it is in {manifest.precision}"
    if any(manifest.parts[part].onnx != sha256(tokenizer.graph(part)) for part in PARTS):
        return "it was built from other graphs"
    return None


def load_part(folder: Path, manifest: Manifest, part: Part) -> bytes:
    """Read one compiled engine. Raises EngineError where it is damaged or not this user's alone."""
    file = folder / f"{part}.engine"
    try:
        for place in (folder, file):
            about = place.stat()
            if about.st_uid != os.getuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise EngineError(f"{place} can be written by others, and an engine is code: build it again yourself")
        data = file.read_bytes()
    except OSError as error:
        raise EngineError(f"{file} cannot be read ({error}): build the engine again") from None
    if hashlib.sha256(data).hexdigest() != manifest.parts[part].engine:
        raise EngineError(f"{file} is damaged: its sha256 is not the one in {FILE}; build the engine again")
    return data


def find_engine(tokenizer: TokenizerFiles, precision: Precision, here: Here) -> tuple[Path, Manifest]:
    """Return the engine of this tokenizer that fits this machine, the one for most people at once.

    Raises EngineError where there is none, with what is wrong with those that are there.
    """
    reasons: list[str] = []
    damaged: list[str] = []  # nobody knows any more whose they were
    fitting: list[tuple[int, Path, Manifest]] = []
    for file in sorted(engines_folder().glob(f"*/{FILE}")):
        try:
            manifest = read_manifest(file.parent)
        except EngineError as error:
            damaged.append(str(error))
            continue
        if stale(manifest, tokenizer, precision) is not None:
            continue
        reason = misfit(manifest, here, tokenizer.argument)
        if reason is None:
            fitting.append((manifest.profile.most, file.parent, manifest))
        else:
            reasons.append(f"the engine in {file.parent} does not fit: {reason}")
    if fitting:
        _, folder, manifest = max(fitting, key=lambda entry: entry[0])
        return folder, manifest
    none = f"no TensorRT engine of {tokenizer.spec.label} in {precision} for this {here.gpu} yet"
    advice = reasons[0] if reasons else f"{none}: {rebuild(tokenizer.argument, precision)}"
    raise EngineError("; ".join([advice, *damaged]))
