"""What a tokenizer directory holds: typed, checked on load, with errors that say how to mend it.

    NAME/  config.json  encoder.onnx  decoder.onnx  model.safetensors  README.md  SHA256SUMS

Graph inputs are `x` (decoder: `tokens`), `reset`, `state.<path>` and what the kind adds (`added_inputs`); outputs
`tokens` and `latent` (predictive: `joints`; decoder: `joints` and `confidence`) and `new_state.<path>`. The batch is
the first axis of all of them.

A predictive tokenizer decodes each hop from what was decoded before it, in the box that the packet names, and any first
levels of a hop decode: an id of -1 stands for a level that is not there, after which there are none.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from engine.errors import TokenizerError

Part = Literal["encoder", "decoder"]
"""The two graphs of a tokenizer."""

PRETRAINED = Path(__file__).parent / "pretrained"
FILES = ("config.json", "encoder.onnx", "decoder.onnx", "model.safetensors")
SUMS = "SHA256SUMS"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""What may name a tokenizer, and on the wire a stream."""


Shapes = Mapping[str, Sequence[int | None]]
"""Sizes by name, without the batch."""


FROM_PANOPTIC19 = np.array([1, 15, 17, 16, 18, 3, 9, 4, 10, 5, 11, 6, 12, 7, 13, 8, 14])
"""Index into CMU Panoptic's 19 joints (neck, nose, mid-hip, left arm, left leg, right arm, ...) per joint."""


class TokenizerSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """config.json. Shapes of states leave out the batch."""

    name: str
    kind: Literal["heatmap", "joints", "predictive"]
    skeleton: Literal["coco17"]
    dims: Literal[2, 3]
    grid: int = 0  # side of a heatmap, pixels; predictive tokenizers see none, and have no strides
    sigma: float = 0.0  # of the Gaussian, pixels of the grid
    hop: int  # frames between packets
    window: int  # frames that one encoder call sees
    causal: bool
    fps: float
    strides: tuple[int, int, int] = (0, 0, 0)  # time, height, width
    vocabulary: int
    token_grid: tuple[int, int, int, int]  # residual levels, time, height, width
    input: Literal["keypoints", "heatmaps"]
    encoder_states: dict[str, tuple[int, ...]]
    decoder_states: dict[str, tuple[int, ...]]
    weights_hash: str  # sha256 of model.safetensors

    @property
    def label(self) -> str:
        """Name and the first 12 digits of the weights' hash, as packets carry it."""
        return f"{self.name}@{self.weights_hash[:12]}"

    @property
    def joints(self) -> int:
        """Joints of the skeleton."""
        return 17

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one person's `x`, without batch."""
        if self.input == "keypoints":
            return (self.window, self.joints, self.dims + 1)
        planes = 3 if self.dims == 3 else 1
        return (planes * self.joints, self.window, self.grid, self.grid)

    @property
    def predictive(self) -> bool:
        """Whether hops are decoded from those before, in any number of levels."""
        return self.kind == "predictive"

    @property
    def tokens_per_hop(self) -> int:
        """Ids in one packet; at most, where levels may be left out."""
        levels, time, height, width = self.token_grid
        return levels * time * height * width

    @property
    def bits_per_second(self) -> float:
        """Raw rate of one person: ids at log2(vocabulary) bits, whole bits."""
        return self.tokens_per_hop * (self.vocabulary - 1).bit_length() * self.fps / self.hop


@dataclass(frozen=True)
class TokenizerFiles:
    """A checked tokenizer directory."""

    spec: TokenizerSpec
    folder: Path

    @property
    def argument(self) -> str:
        """What a command takes for it: the name of a shipped one, else the folder."""
        return self.spec.name if self.folder == PRETRAINED / self.spec.name else str(self.folder)

    def graph(self, part: Part) -> Path:
        """Return one of the two graphs."""
        return self.folder / f"{part}.onnx"


def shipped() -> list[str]:
    """Names of the tokenizers that ship."""
    return sorted(path.parent.name for path in PRETRAINED.glob("*/config.json"))


def load_tokenizer(name_or_dir: str | Path) -> TokenizerFiles:
    """Find a tokenizer by the name of a shipped one or by its directory, and check it.

    Raises TokenizerError where it is unknown, a file is missing or does not match its hash, or the configuration
    is not sound.
    """
    # A shipped name goes before a folder that happens to be called so; ./NAME is the folder.
    folder = PRETRAINED / str(name_or_dir) if str(name_or_dir) in shipped() else Path(name_or_dir)
    if not folder.is_dir():
        raise TokenizerError(
            f"no tokenizer {str(name_or_dir)!r}: give the name of a shipped one ({', '.join(shipped()) or 'none'}) "
            "or a tokenizer directory"
        )
    missing = [file for file in (*FILES, SUMS) if not (folder / file).is_file()]
    if missing:
        raise TokenizerError(
            f"{folder} is not a complete tokenizer: {', '.join(missing)} missing; export or fetch it again"
        )
    sums = _check_sums(folder)
    try:
        spec = msgspec.json.decode((folder / "config.json").read_bytes(), type=TokenizerSpec)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TokenizerError(f"{folder / 'config.json'}: {error}; export the tokenizer again") from None
    _check_spec(spec, folder, sums["model.safetensors"])
    return TokenizerFiles(spec, folder)


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS over the files that make the tokenizer, in the form that `sha256sum -c` reads."""
    (folder / SUMS).write_text("".join(f"{sha256(folder / file)}  {file}\n" for file in FILES), encoding="utf-8")


def sha256(file: Path) -> str:
    """Return a file's hash in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_sums(folder: Path) -> dict[str, str]:
    """Return the hash of every file by name, each checked."""
    lines = (
        line.split(maxsplit=1)
        for line in (folder / SUMS).read_text(errors="replace", encoding="utf-8").splitlines()
        if line.strip()
    )
    sums = {pair[1].strip(): pair[0] for pair in lines if len(pair) == 2}
    for file in FILES:
        if sums.get(file) != sha256(folder / file):
            raise TokenizerError(
                f"{folder / file} is damaged: its sha256 is not the one in {SUMS}; export or fetch the tokenizer again"
            )
    return sums


def _check_spec(spec: TokenizerSpec, folder: Path, weights_hash: str) -> None:
    def need(sound: bool, what: str) -> None:
        if not sound:
            raise TokenizerError(f"{folder / 'config.json'}: {what}; export the tokenizer again")

    need(spec.weights_hash == weights_hash, "weights_hash is not that of model.safetensors")
    need(re.fullmatch(NAME, spec.name) is not None, f"name {spec.name!r} must be letters, digits, '.', '_' or '-'")
    need(spec.hop <= 64, f"hop {spec.hop} must be at most 64 frames")
    need(min(spec.hop, *spec.token_grid) > 0, "sizes must be positive")
    need(spec.fps > 0, "fps must be positive")
    need(spec.window % spec.hop == 0, f"window {spec.window} must be a multiple of hop {spec.hop}")
    need(not spec.causal or spec.window == spec.hop, "a causal tokenizer has window equal to hop")
    need(2 <= spec.vocabulary <= 65536, f"vocabulary {spec.vocabulary} must fit 16 bits")
    if spec.predictive:
        need(spec.causal and spec.input == "keypoints", "a predictive tokenizer is causal and takes keypoints")
        need(spec.token_grid[1:] == (1, 1, 1), f"token grid {spec.token_grid} must be levels x 1 x 1 x 1")
        return
    need(min(spec.grid, *spec.strides) > 0 and spec.sigma > 0, "grid, strides and sigma must be positive")
    _, time, height, width = spec.token_grid
    reduced = (time * spec.strides[0], height * spec.strides[1], width * spec.strides[2])
    need(
        reduced == (spec.hop, spec.grid, spec.grid),
        f"token grid {spec.token_grid} times strides {spec.strides} must be hop x grid x grid",
    )


def added_inputs(spec: TokenizerSpec, part: Part) -> dict[str, tuple[int, ...]]:
    """Return the sizes of what a graph of this kind takes beside `x` or `tokens`, by name; all are float32.

    box: the hop's box, (*centre, side), px or cm, as its packet carries it; levels: code a hop in so many at most;
    tolerance: and in no more than bring the mean joint error down to this, in sides of the box; 0: in all of `levels`.
    """
    if not spec.predictive:
        return {}
    box: dict[str, tuple[int, ...]] = {"box": (spec.dims + 1,)}
    return {**box, "levels": (), "tolerance": ()} if part == "encoder" else box


def states_of(spec: TokenizerSpec, part: Part) -> dict[str, tuple[int, ...]]:
    """Return the sizes of one stream's states, by path."""
    states = spec.encoder_states if part == "encoder" else spec.decoder_states
    return {path: tuple(size) for path, size in states.items()}


def check_inputs(tokenizer: TokenizerFiles, part: Part, found: Shapes) -> None:
    """Raise TokenizerError where a graph does not take what the configuration promises."""
    spec = tokenizer.spec
    first = {"x": spec.input_shape} if part == "encoder" else {"tokens": spec.token_grid}
    states = {f"state.{path}": size for path, size in states_of(spec, part).items()}
    expected = {**first, "reset": (), **added_inputs(spec, part), **states}
    wrong = {name for name in expected.keys() | found.keys() if expected.get(name) != _sizes(found, name)}
    _refuse(tokenizer, part, "differs in", wrong)


def check_outputs(tokenizer: TokenizerFiles, part: Part, found: Shapes) -> None:
    """Raise TokenizerError where a graph does not give what the configuration promises."""
    spec = tokenizer.spec
    frames = (spec.hop, spec.joints)
    joints = {"joints": (*frames, spec.dims)}
    first: Shapes = {**joints, "confidence": frames}
    if part == "encoder":
        first = {"tokens": spec.token_grid, **(joints if spec.predictive else {})}
    states = {f"new_state.{path}": size for path, size in states_of(spec, part).items()}
    wrong = {name for name, sizes in {**first, **states}.items() if _sizes(found, name) != tuple(sizes)}
    if part == "encoder" and not spec.predictive and "latent" not in found:  # of as many channels as the quantizer has
        wrong.add("latent")
    _refuse(tokenizer, part, "gives no right", wrong)


def _sizes(found: Shapes, name: str) -> tuple[int | None, ...] | None:
    return tuple(found[name]) if name in found else None


def _refuse(tokenizer: TokenizerFiles, part: Part, how: str, wrong: set[str]) -> None:
    if wrong:
        raise TokenizerError(
            f"{tokenizer.graph(part)} does not fit {tokenizer.folder / 'config.json'}: {how} "
            f"{', '.join(sorted(wrong))}; export the tokenizer again"
        )
