"""Opens a tokenizer's encoder or decoder on the fastest engine at hand and runs it step by step.

State goes in and comes out: a session remembers nothing, so any number of streams can share one.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from engine import state as state_of
from engine.backends.base import Arrays, DeviceGraph, Graph, Precision, zeros
from engine.errors import EngineError, KinetokenError, TokenizerError, in_a_line
from engine.spec import (
    Part,
    TokenizerFiles,
    TokenizerSpec,
    added_inputs,
    check_inputs,
    check_outputs,
    load_tokenizer,
    states_of,
)
from engine.state import State
from engine.tensorrt.manifest import has_engines

__all__ = [
    "BACKENDS",
    "Backend",
    "Decoded",
    "Decoder",
    "Encoded",
    "Encoder",
    "Precision",
    "Session",
    "State",
    "open_decoder",
    "open_encoder",
]

Backend = Literal["auto", "tensorrt", "openvino", "onnxruntime"]

TRIALS = 7
"""Timed steps per backend when `auto` looks for the fastest."""


@dataclass(frozen=True)
class Encoded:
    """tokens: int32 [B, L, t, h, w], -1 for levels left out; beside them, by the tokenizer's kind,

    latent: float32 [B, L, t, h, w, C], unit vectors before rounding to a code; or joints: float32 [B, T, 17, D], box
    coordinates, as a decoder that lost nothing will give them.
    """

    tokens: NDArray[np.int32]
    latent: NDArray[np.float32] | None = None
    joints: NDArray[np.float32] | None = None

    @property
    def numbers(self) -> NDArray[np.float32]:
        """The latent, or the joints where there is none: what two engines may be compared by."""
        found = self.joints if self.latent is None else self.latent
        assert found is not None
        return found


@dataclass(frozen=True)
class Decoded:
    """joints: float32 [B, T, 17, D] in box coordinates; confidence: float32 [B, T, 17] in 0..1, was the joint seen."""

    joints: NDArray[np.float32]
    confidence: NDArray[np.float32]


class Session:
    """One graph of a tokenizer on one backend."""

    part: ClassVar[Part]

    def __init__(self, spec: TokenizerSpec, graph: Graph, backend: str, why: str) -> None:
        self.spec, self.backend, self.why = spec, backend, why
        self._graph = graph
        self._states = states_of(spec, self.part)

    def init_state(self, batch: int) -> State:
        """Return the state of `batch` streams that have seen nothing."""
        if isinstance(self._graph, DeviceGraph):
            return self._graph.init_state(batch)
        return state_of.zeros(self._states, batch)

    def warm(self, batches: tuple[int, ...]) -> None:
        """Compile and run these batch sizes, so that no live step pays for it."""
        # States on a device change between two sets, and a step is prepared for each by itself.
        times = 2 if isinstance(self._graph, DeviceGraph) else 1
        for batch in batches:
            for _ in range(times):
                self._graph.run(zeros(self._graph.inputs, batch))

    def _step(
        self,
        name: str,
        value: NDArray[Any],
        reset: NDArray[np.bool_],
        state: State,
        added: Mapping[str, NDArray[np.float32]],
    ) -> tuple[Arrays, State]:
        expected = tuple(self._graph.inputs[name][1:])
        if not len(value):
            raise ValueError(f"{self.spec.name}: a step needs at least one stream")
        if value.shape[1:] != expected or reset.shape != value.shape[:1]:
            raise ValueError(
                f"{self.spec.name}: {name} must be [B, {', '.join(map(str, expected))}] and reset [B], "
                f"got {list(value.shape)} and {list(reset.shape)}"
            )
        feeds = {name: np.ascontiguousarray(value), "reset": reset.astype(np.float32)}
        sizes = added_inputs(self.spec, self.part)
        found = {key: array.shape for key, array in added.items()}
        if found != {key: (len(value), *size) for key, size in sizes.items()}:
            wanted = ", ".join(f"{key} [B{''.join(f', {n}' for n in size)}]" for key, size in sizes.items())
            raise ValueError(f"{self.spec.name}: a step takes {wanted or 'nothing else'}, got {found}")
        feeds |= {key: np.ascontiguousarray(array, np.float32) for key, array in added.items()}
        if isinstance(self._graph, DeviceGraph):
            return self._graph.step(feeds, state)
        feeds |= {f"state.{path}": past for path, past in state.items()}
        out = self._graph.run(feeds)
        return out, {path: out[f"new_state.{path}"] for path in self._states}


class Encoder(Session):
    """Windows in, tokens out."""

    part = "encoder"

    def step(
        self, x: NDArray[np.float32], reset: NDArray[np.bool_], state: State, **added: NDArray[np.float32]
    ) -> tuple[Encoded, State]:
        """Encode one hop of B streams.

        x: float32 [B, *spec.input_shape]; reset: bool [B], start this stream afresh; state: as from `init_state`;
        added: what the kind takes beside, by name, see `engine.spec.added_inputs`.
        """
        out, new = self._step("x", x, reset, state, added)
        return Encoded(out["tokens"], out.get("latent"), out.get("joints")), new


class Decoder(Session):
    """Tokens in, joints out."""

    part = "decoder"

    def step(
        self, tokens: NDArray[Any], reset: NDArray[np.bool_], state: State, **added: NDArray[np.float32]
    ) -> tuple[Decoded, State]:
        """Decode one hop of B streams. tokens: [B, L, t, h, w], each id below the vocabulary; else as in `Encoder`.

        Of a predictive tokenizer, ids of -1 are levels that are not there: with none at all it predicts the hop.
        Raises ValueError for an id beyond the vocabulary.
        """
        least = -1 if self.spec.predictive else 0
        if tokens.size and not least <= tokens.min() <= tokens.max() < self.spec.vocabulary:
            raise ValueError(f"{self.spec.name}: ids must be in {least}..{self.spec.vocabulary - 1}")
        out, new = self._step("tokens", tokens.astype(np.int32), reset, state, added)
        return Decoded(out["joints"], out["confidence"]), new


def open_encoder(
    tokenizer: TokenizerFiles | str | Path, backend: Backend = "auto", precision: Precision = "fp32"
) -> Encoder:
    """Open a tokenizer's encoder. Raises TokenizerError where it cannot be run."""
    tokenizer = tokenizer if isinstance(tokenizer, TokenizerFiles) else load_tokenizer(tokenizer)
    return Encoder(tokenizer.spec, *_open(tokenizer, "encoder", backend, precision))


def open_decoder(
    tokenizer: TokenizerFiles | str | Path, backend: Backend = "auto", precision: Precision = "fp32"
) -> Decoder:
    """Open a tokenizer's decoder. Raises TokenizerError where it cannot be run."""
    tokenizer = tokenizer if isinstance(tokenizer, TokenizerFiles) else load_tokenizer(tokenizer)
    return Decoder(tokenizer.spec, *_open(tokenizer, "decoder", backend, precision))


def _tensorrt(tokenizer: TokenizerFiles, part: Part, precision: Precision) -> Graph:
    from engine.tensorrt.runtime import open_engine

    return open_engine(tokenizer, part, precision)


def _openvino(tokenizer: TokenizerFiles, part: Part, precision: Precision) -> Graph:
    from engine.backends.openvino import OpenVinoGraph

    return OpenVinoGraph(tokenizer.graph(part), precision)


def _onnxruntime(tokenizer: TokenizerFiles, part: Part, precision: Precision) -> Graph:
    from engine.backends.onnxruntime import OnnxRuntimeGraph

    return OnnxRuntimeGraph(tokenizer.graph(part), precision)


Load = Callable[[TokenizerFiles, Part, Precision], Graph]

BACKENDS: dict[str, Load] = {"tensorrt": _tensorrt, "openvino": _openvino, "onnxruntime": _onnxruntime}


def _open(tokenizer: TokenizerFiles, part: Part, backend: Backend, precision: Precision) -> tuple[Graph, str, str]:
    """Return the graph, the backend's name and why it was taken."""
    if backend == "auto":
        return _fastest(tokenizer, part, precision)
    return _asked_for(backend, tokenizer, part, precision)


def _asked_for(backend: str, tokenizer: TokenizerFiles, part: Part, precision: Precision) -> tuple[Graph, str, str]:
    try:
        return _checked(backend, tokenizer, part, precision), backend, "as asked"
    except ImportError as error:
        extra = "'kinetoken[tensorrt]' or 'kinetoken[tensorrt-rtx]'" if backend == "tensorrt" else backend
        raise TokenizerError(f"backend {backend} is not installed ({error}): pip install {extra}") from None
    except KinetokenError:
        raise
    except Exception as error:
        raise TokenizerError(f"{backend} cannot run {tokenizer.graph(part)}: {in_a_line(error)}") from None


def _fastest(tokenizer: TokenizerFiles, part: Part, precision: Precision) -> tuple[Graph, str, str]:
    """Return the graph on the GPU where that works, else on what is faster here, and why.

    One that is absent or broken must not keep the others from serving.
    """
    failures: list[str] = []
    refused = False  # by an engine, not for the tokenizer's sake
    try:
        return _checked("tensorrt", tokenizer, part, precision), "tensorrt", "an engine for this GPU is here"
    except ModuleNotFoundError:
        pass  # nobody who has not installed it waits for it
    except Exception as error:
        if has_engines():  # who has built none does not ask why none runs
            failures.append(f"not tensorrt: {in_a_line(error)}")
    timed: list[tuple[float, str, Graph]] = []
    for name in (name for name in BACKENDS if name != "tensorrt"):
        try:
            graph = _checked(name, tokenizer, part, precision)
            timed.append((_milliseconds(graph), name, graph))
        except TokenizerError:
            raise  # no other backend would help
        except Exception as error:
            refused |= isinstance(error, EngineError)
            failures.append(f"{name}: {in_a_line(error)}")
    if not timed:
        kind = EngineError if refused else TokenizerError
        raise kind(f"no backend can run {tokenizer.graph(part)}: {'; '.join(failures)}")
    timed.sort(key=lambda entry: entry[0])
    why = "fastest here: " + ", ".join(f"{name} {ms:.1f} ms" for ms, name, _ in timed)
    return timed[0][2], timed[0][1], "; ".join([why, *failures])


def _checked(backend: str, tokenizer: TokenizerFiles, part: Part, precision: Precision) -> Graph:
    """Open a graph and run it once: what goes in and comes out must be what the configuration promises."""
    graph = BACKENDS[backend](tokenizer, part, precision)
    check_inputs(tokenizer, part, {name: size[1:] for name, size in graph.inputs.items()})
    given = graph.run(zeros(graph.inputs, batch=1))
    check_outputs(tokenizer, part, {name: array.shape[1:] for name, array in given.items()})
    return graph


def _milliseconds(graph: Graph) -> float:
    feeds = zeros(graph.inputs, batch=1)
    times = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        graph.run(feeds)
        times.append(time.perf_counter() - start)
    return 1000 * sorted(times)[TRIALS // 2]
