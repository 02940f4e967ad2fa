"""Say what an engine or a tokenizer is, and whether it runs here: python -m engine.info ENGINE_OR_DIR."""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once(130)

import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from engine.command.cli import run
from engine.errors import EngineError
from engine.spec import TokenizerFiles, load_tokenizer
from engine.tensorrt import manifest as manifests
from engine.tensorrt.library import installed
from engine.tensorrt.manifest import PARTS, Here, Manifest, Tensor


def describe_engine(folder: Path) -> list[str]:
    """Return what an engine is, a fact a line. Raises EngineError where it is none or its manifest is damaged."""
    found = manifests.read_manifest(folder)
    size = sum(part.size for part in found.parts.values()) / 2**20
    profile = found.profile
    lines = [
        f"engine     {folder}",
        f"tokenizer  {found.tokenizer}@{found.weights_hash[:12]}",
        f"made with  {found.flavour} {found.version}",
        f"made for   {found.target}",
        f"precision  {found.precision}",
        f"people     {profile.least} to {profile.most} in one step, tuned for {profile.tuned}",
        f"size       {size:.1f} MiB",
    ]
    for part in PARTS:
        about = found.parts[part]
        lines += [f"{part}", f"  size     {about.size / 2**20:.1f} MiB, sha256 {about.engine}"]
        lines += _tensors("in", about.inputs) + _tensors("out", about.outputs)
    return [*lines, f"here       {verdict(folder, found, found.tokenizer)}"]


def verdict(folder: Path, manifest: Manifest, what: str) -> str:
    """Say whether an engine runs on this machine. what: name or folder of the tokenizer that it was made of."""
    from engine.tensorrt.cuda import gpu

    try:
        for part in PARTS:
            manifests.load_part(folder, manifest, part)
        device = gpu()
    except EngineError as error:
        return f"does not run: {error}"
    versions = {str(flavour.name): flavour.version for flavour in installed()}
    reason = manifests.misfit(manifest, Here(versions, device.capability, device.name), what)
    return "runs" if reason is None else f"does not run: {reason}"


def describe_tokenizer(tokenizer: TokenizerFiles) -> list[str]:
    """Return what a tokenizer is, and which engines of it are in this user's cache, a fact a line."""
    spec = tokenizer.spec
    levels = " x ".join(map(str, spec.token_grid))
    most = "any first levels, at most " if spec.predictive else ""
    lines = [
        f"tokenizer  {spec.label}",
        f"folder     {tokenizer.folder}",
        f"motion     {spec.dims}D at {spec.fps:g} fps, {spec.hop} frames a hop, {spec.window} a window",
        f"input      {spec.input}, {list(spec.input_shape)} a person",
        f"tokens     {levels} of {spec.vocabulary}, {most}{spec.bits_per_second:.0f} bit/s a person",
    ]
    engines = []
    try:
        folder = manifests.engines_folder()
    except EngineError as error:
        return [*lines, f"engine     {error}"]
    for file in sorted(folder.glob(f"*/{manifests.FILE}")):
        try:
            found = manifests.read_manifest(file.parent)
        except EngineError:
            continue
        if manifests.stale(found, tokenizer, found.precision) is None:
            engines += [
                f"engine     {file.parent}",
                f"           {found.precision}, {verdict(file.parent, found, tokenizer.argument)}",
            ]
    return lines + (engines or [f"engine     none yet: {manifests.rebuild(tokenizer.argument, 'fp32')}"])


def _tensors(way: str, tensors: Mapping[str, Tensor]) -> list[str]:
    return [f"  {way:3}      {name} {tensor.dtype} {list(tensor.shape)}" for name, tensor in tensors.items()]


@dataclass(frozen=True)
class Config:
    """Say what an engine or a tokenizer is, and whether it runs here."""

    EXITS: ClassVar = (5, 13, 130)

    what: str
    """An engine's folder or file, a tokenizer directory, or the name of a shipped tokenizer."""


EXAMPLES = """
  python -m engine.info heatmap2d-f8
"""


def main(config: Config, stop: threading.Event) -> None:
    """Say it."""
    place = Path(config.what)
    folder = place.parent if place.suffix == ".engine" and place.is_file() else place
    engine = (folder / manifests.FILE).is_file() or folder != place
    print("\n".join(describe_engine(folder) if engine else describe_tokenizer(load_tokenizer(config.what))))


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m engine.info", examples=EXAMPLES, batch=True))
