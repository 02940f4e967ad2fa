"""A prior: how probable each id of a predictive tokenizer is, given what was decoded before it.

It is a folder: `hop.onnx` is run when a hop begins, `level.onnx` for each of its levels, coarse to fine;
`model.safetensors`; and `config.json`, which names the tokenizer it belongs to. Its numbers are the same wherever the
same build of ONNX Runtime runs on the same kind of processor, and nearly the same elsewhere.
"""

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import TokenizerError
from engine.spec import sha256

PRIORS = Path(__file__).parent / "priors"
"""Those that ship, each under its tokenizer's name."""

GRAPHS = ("hop", "level")

Floats = NDArray[np.float32]


class PriorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """tokenizer: label of the tokenizer whose ids it knows; hidden: size of its memory."""

    tokenizer: str
    hidden: int
    weights_hash: str


class Prior:
    """Of B hops at a time, each of another stream.

    memory = prior.begin_hop(ids_before, joints_before, box_before, box, reset, memory)
    ids = np.full((1, levels), -1)
    ids[0, 0] = prior.level(memory, ids, 0).argmax()    # the most probable first id
    """

    def __init__(self, spec: PriorSpec, folder: Path) -> None:
        from engine.backends.onnxruntime import OnnxRuntimeGraph

        self.spec = spec
        self._hop, self._level = (OnnxRuntimeGraph(folder / f"{name}.onnx", threads=1) for name in GRAPHS)

    def begin_hop(
        self,
        ids: NDArray[np.integer],
        joints: Floats,
        before: Floats,
        box: Floats,
        reset: NDArray[np.bool_],
        memory: Floats | None,
    ) -> Floats:
        """Return the memory, [B, hidden], when hops begin.

        ids: [B, L] of the hops before, -1 for levels they had not; joints: [B, hop, 17, D], as they were decoded, in
        box coordinates; before, box: [B, D + 1], their boxes and those of the hops that begin; reset: [B], where there
        was no hop before; memory: of the hops before, None where there was none.
        """
        feeds = {
            "tokens": ids.astype(np.int32),
            "joints": joints.astype(np.float32),
            "before": before.astype(np.float32),
            "box": box.astype(np.float32),
            "reset": reset.astype(np.float32),
            "state.memory": np.zeros((len(ids), self.spec.hidden), np.float32) if memory is None else memory,
        }
        found: Floats = self._hop.run(feeds)["new_state.memory"]
        return found

    def level(self, memory: Floats, ids: NDArray[np.integer], level: int) -> Floats:
        """Return the logits of a level's ids, [B, vocabulary]. ids: [B, L], of the levels before it, then -1."""
        number = np.full(len(ids), level, np.int32)
        logits: Floats = self._level.run({"memory": memory, "tokens": ids.astype(np.int32), "level": number})["logits"]
        return logits


def open_prior(folder: Path) -> Prior:
    """Open a prior's folder. Raises TokenizerError where it is not whole or not sound."""
    try:
        spec = msgspec.json.decode((folder / "config.json").read_bytes(), type=PriorSpec)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TokenizerError(f"{folder} is no prior: {error}") from None
    if not (folder / "model.safetensors").is_file() or sha256(folder / "model.safetensors") != spec.weights_hash:
        raise TokenizerError(f"{folder / 'model.safetensors'} is missing or damaged; get the prior again")
    try:
        return Prior(spec, folder)
    except Exception as error:
        raise TokenizerError(f"{folder} cannot be run: {str(error).strip().splitlines()[0]}") from None


def prior_of(label: str) -> Prior:
    """Open the prior that ships for a tokenizer, by the label in its packets. Raises TokenizerError without one."""
    folder = PRIORS / label.partition("@")[0]
    if "/" in label or not folder.is_dir():
        known = ", ".join(sorted(each.name for each in PRIORS.iterdir())) if PRIORS.is_dir() else "none"
        raise TokenizerError(f"no prior for {label}: there is one for {known}")
    prior = open_prior(folder)
    if prior.spec.tokenizer != label:
        raise TokenizerError(f"the prior that ships is of {prior.spec.tokenizer}, not of {label}")
    return prior
