"""Compile a tokenizer for this machine: python -m engine.build --tokenizer NAME_OR_DIR --backend tensorrt|openvino.

A TensorRT engine goes to this user's cache with a manifest of what it was made of; the runtime takes it from there.
For OpenVINO the cache of compiled graphs is filled, so that the first start is as fast as every other.
"""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once(130)

import hashlib
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from engine.backends.base import Precision
from engine.cache import cache_folder, cache_path
from engine.command.cli import run
from engine.errors import EngineError
from engine.sample_windows import BUILT_IN, read_windows
from engine.session import open_decoder, open_encoder
from engine.spec import Part, Shapes, TokenizerFiles, check_inputs, check_outputs, load_tokenizer, sha256
from engine.tensorrt import manifest as manifests
from engine.tensorrt.compiler import DEFAULT_ARCHITECTURES, architectures, compile_graph
from engine.tensorrt.library import TensorRtLibrary, installed
from engine.tensorrt.manifest import PARTS, Manifest, PartManifest, Profile, Tensor

MAX_BATCH = 64
WORKSPACE_MIB = 1024

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What to build. architectures: compute capabilities; empty for those that fit. out: None for the user's cache."""

    precision: Precision = "fp32"
    max_batch: int = MAX_BATCH
    architectures: tuple[str, ...] = ()
    workspace_mib: int = WORKSPACE_MIB
    out: Path | None = None
    force: bool = False
    data: tuple[Path, ...] = ()


def build_tensorrt(tokenizer: TokenizerFiles, wanted: Wanted, say: Say = print) -> Path:
    """Build both engines of a tokenizer and return their folder; one that is there already stays, unless forced.

    Raises EngineError where no TensorRT is installed, it needs a GPU that is not there, or it refuses a graph.
    """
    flavour, capabilities, gpu = _target(wanted.architectures)
    profile = Profile(1, min(8, wanted.max_batch), wanted.max_batch)
    spec = tokenizer.spec
    target = re.sub(r"[^A-Za-z0-9]+", "", gpu) if gpu else "sm" + "+".join(c.replace(".", "") for c in capabilities)
    name = f"{spec.name}-{spec.weights_hash[:12]}-{flavour.name}-{flavour.version}-{target}"
    root = wanted.out if wanted.out is not None else manifests.engines_folder()
    folder = root / f"{name}-{wanted.precision}-b{wanted.max_batch}"
    if not wanted.force and _is_there(folder, tokenizer, wanted, capabilities):
        say(f"already built: {folder} (--force builds it again)")
        return folder
    say(f"{spec.label} with {flavour.name} {flavour.version} for {gpu or ', '.join(capabilities)}, {wanted.precision}")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".building-") as scratch:
            new = Path(scratch) / "engine"
            new.mkdir(mode=0o700)
            parts = {
                part: _build_part(tokenizer, part, flavour, capabilities, profile, wanted, new, say) for part in PARTS
            }
            found = Manifest(
                format=manifests.FORMAT,
                tokenizer=spec.name,
                weights_hash=spec.weights_hash,
                flavour=flavour.name,
                version=flavour.version,
                precision=wanted.precision,
                capabilities=capabilities,
                gpu=gpu,
                profile=profile,
                workspace_mib=wanted.workspace_mib,
                calibration=_calibration(wanted),
                parts=parts,
            )
            manifests.write_manifest(new, found)
            if folder.exists():
                folder.rename(Path(scratch) / "old")
            new.rename(folder)
    except OSError as error:
        raise EngineError(f"the engine cannot be written to {folder}: {error}") from None
    say(f"built: {folder} ({sum(part.size for part in parts.values()) / 2**20:.1f} MiB)")
    if wanted.out is not None:
        say(f"to run it, put that folder into {cache_path(manifests.ENGINES)}, or its like on the machine with the GPU")
    return folder


def build_openvino(tokenizer: TokenizerFiles, precision: Precision, max_batch: int, say: Say = print) -> None:
    """Compile both graphs in every batch size up to `max_batch` and keep them in this user's cache.

    Raises EngineError where there is no place to keep them.
    """
    try:
        cache_folder("openvino")
    except OSError as error:
        raise EngineError(
            f"cannot create the cache of compiled graphs: {error}. Set KINETOKEN_CACHE to a writable folder"
        ) from None
    for part, open_session in (("encoder", open_encoder), ("decoder", open_decoder)):
        start = time.perf_counter()
        session = open_session(tokenizer, "openvino", precision)
        session.warm(tuple(1 << n for n in range(max_batch.bit_length())))
        say(f"{part}: compiled or found compiled in {time.perf_counter() - start:.1f} s")


def _target(wanted: tuple[str, ...]) -> tuple[TensorRtLibrary, tuple[str, ...], str | None]:
    """Return the TensorRT to build with, the compute capabilities, and the GPU it builds for alone, if it does."""
    here = _gpu_here()
    flavours = installed()
    if not flavours:
        raise EngineError(
            "no TensorRT is installed: pip install 'kinetoken[tensorrt-rtx]' (RTX cards, builds without a GPU) "
            "or 'kinetoken[tensorrt]' (all NVIDIA GPUs, builds where the GPU is)"
        )
    for flavour in flavours:
        if not flavour.portable and isinstance(here, tuple) and set(wanted) <= {here[0]}:
            return flavour, (here[0],), here[1]
    portable = next((flavour for flavour in flavours if flavour.portable), None)
    if portable is None:
        why = f"{here}" if isinstance(here, str) else f"the GPU here has compute capability {here[0]}"
        raise EngineError(
            f"tensorrt builds only for the GPU it runs on, and {why}: build there, or "
            "pip install 'kinetoken[tensorrt-rtx]'"
        )
    known = architectures(portable)
    chosen = wanted or ((here[0],) if isinstance(here, tuple) else DEFAULT_ARCHITECTURES)
    strange = [capability for capability in chosen if capability not in known]
    if strange:
        raise EngineError(
            f"{portable.name} {portable.version} builds for {', '.join(known)}, not for {', '.join(strange)}"
            ": for such a GPU, pip install 'kinetoken[tensorrt]' and build there"
        )
    return portable, tuple(sorted(set(chosen), key=float)), None


def _gpu_here() -> tuple[str, str] | str:
    """Return the GPU's compute capability and name, or why there is none."""
    try:
        from engine.tensorrt.cuda import gpu

        here = gpu()
    except EngineError as error:
        return str(error)
    return here.capability, here.name


def _is_there(folder: Path, tokenizer: TokenizerFiles, wanted: Wanted, capabilities: tuple[str, ...]) -> bool:
    """Whether this very engine lies whole in the folder."""
    try:
        found = manifests.read_manifest(folder)
        for part in PARTS:
            manifests.load_part(folder, found, part)
    except EngineError:
        return False
    made = (found.capabilities, found.workspace_mib, found.calibration)
    same = made == (capabilities, wanted.workspace_mib, _calibration(wanted))
    return same and manifests.stale(found, tokenizer, wanted.precision) is None


def _calibration(wanted: Wanted) -> str | None:
    """What int8's ranges come from, as the manifest has it. Raises EngineError where a file cannot be read."""
    if wanted.precision != "int8":
        return None
    try:
        return hashlib.sha256("".join(map(sha256, wanted.data or (BUILT_IN,))).encode()).hexdigest()
    except OSError as error:
        raise EngineError(
            f"{error.filename} is not a recording ({error}): give npz files with joints and fps"
        ) from None


def _build_part(
    tokenizer: TokenizerFiles,
    part: Part,
    flavour: TensorRtLibrary,
    capabilities: tuple[str, ...],
    profile: Profile,
    wanted: Wanted,
    folder: Path,
    say: Say,
) -> PartManifest:
    start = time.perf_counter()
    graph = _typed(tokenizer, part, wanted, say)
    # Nothing is timed without the GPU.
    name = f"timing-{flavour.name}-{flavour.version}.cache"
    timing = None if flavour.portable else manifests.engines_folder() / name
    compiled = compile_graph(flavour, graph, tokenizer.graph(part), profile, capabilities, wanted.workspace_mib, timing)
    check_inputs(tokenizer, part, _sizes(compiled.inputs))
    check_outputs(tokenizer, part, _sizes(compiled.outputs))
    file = folder / f"{part}.engine"
    file.write_bytes(compiled.data)
    file.chmod(0o600)
    say(f"{part}: {len(compiled.data) / 2**20:.1f} MiB in {time.perf_counter() - start:.1f} s")
    return PartManifest(
        onnx=sha256(tokenizer.graph(part)),
        engine=sha256(file),
        size=len(compiled.data),
        inputs=compiled.inputs,
        outputs=compiled.outputs,
    )


def _sizes(tensors: Mapping[str, Tensor]) -> Shapes:
    return {name: tensor.shape[1:] for name, tensor in tensors.items()}


def _typed(tokenizer: TokenizerFiles, part: Part, wanted: Wanted, say: Say) -> bytes:
    """Return the graph with its weights inside, in the wanted precision."""
    try:
        from engine.int8 import to_int8
        from engine.tensorrt.precision import halve, load_graph
    except ModuleNotFoundError as error:
        raise EngineError(f"building needs {error.name}: pip install 'kinetoken[tensorrt-rtx]'") from None
    try:
        graph = load_graph(tokenizer.graph(part))
    except Exception as error:  # onnx has no error class of its own for a file it cannot read
        raise EngineError(f"{tokenizer.graph(part)} cannot be read: {error}; export the tokenizer again") from None
    if wanted.precision == "int8":
        graph = to_int8(tokenizer, part, graph, read_windows(tokenizer.spec, wanted.data), say)
    elif wanted.precision != "fp32":
        graph = halve(graph, wanted.precision)
    return bytes(graph.SerializeToString())


@dataclass(frozen=True)
class Config:
    """Compile a tokenizer for this machine or, with TensorRT for RTX, for other GPUs."""

    EXITS: ClassVar = (5, 10, 13, 14, 130)

    backend: Literal["tensorrt", "openvino"] | None = None
    """What is to run it."""
    tokenizer: str = "heatmap2d-f8"
    """Name of a shipped tokenizer, or a tokenizer directory."""
    precision: Precision = "fp32"
    """Precision of the matrix products."""
    max_batch: int = MAX_BATCH
    """Most people in one step."""
    gpu_arch: list[str] = field(default_factory=list)
    """Compute capabilities to build for, such as 8.6 8.9; by default that of the GPU here."""
    workspace: int | None = None
    """Device memory that a step may use in passing, MiB; by default 1024."""
    data: list[Path] = field(default_factory=list)
    """Recordings (npz) that int8 is calibrated on; by default the built-in motion."""
    out: Path | None = None
    """Folder to write to; by default the user's cache."""
    force: bool = False
    """Build again what is there already."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range or that do not go together."""
        if self.backend is None:
            raise ValueError("--backend: name tensorrt or openvino")
        if not 1 <= self.max_batch <= 4096 or (self.workspace is not None and self.workspace < 1):
            raise ValueError("--max-batch must be 1 to 4096 and --workspace at least 1")
        if self.backend == "openvino" and (self.gpu_arch or self.out or self.force or self.data or self.workspace):
            raise ValueError(
                "--gpu-arch, --workspace, --data, --out and --force are TensorRT's; OpenVINO keeps its own cache"
            )
        if self.data and self.precision != "int8":
            raise ValueError(f"--data calibrates int8 and is not used in {self.precision}: leave it out")


EXAMPLES = """
  python -m engine.build --tokenizer heatmap2d-f8 --backend openvino
  python -m engine.build --tokenizer heatmap2d-f8 --backend tensorrt --precision fp16
  python -m engine.build --backend tensorrt --gpu-arch 8.6 8.9 --out engines
"""


def main(config: Config, stop: threading.Event) -> None:
    """Build what is asked for."""
    tokenizer = load_tokenizer(config.tokenizer)
    if config.backend == "openvino":
        build_openvino(tokenizer, config.precision, config.max_batch)
        return
    wanted = Wanted(
        precision=config.precision,
        max_batch=config.max_batch,
        architectures=tuple(config.gpu_arch),
        workspace_mib=WORKSPACE_MIB if config.workspace is None else config.workspace,
        out=config.out,
        force=config.force,
        data=tuple(config.data),
    )
    build_tensorrt(tokenizer, wanted)


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m engine.build", examples=EXAMPLES, batch=True))
