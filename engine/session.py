"""Opens a tokenizer's encoder or decoder on the fastest engine at hand and runs it step by step.

State goes in and comes out: a session remembers nothing, so any number of streams can share one.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine import states as state_of
from engine.backends.base import Arrays, DeviceGraph, Graph, Precision, zeros
from engine.errors import EngineError, KinetokenError, TokenizerError
from engine.spec import Part, Tokenizer, TokenizerSpec, load_tokenizer
from engine.states import State

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
    """tokens: int32 [B, L, t, h, w]; latent: float32 [B, L, t, h, w, C], unit vectors before rounding to a code."""

    tokens: NDArray[np.int32]
    latent: NDArray[np.float32]


@dataclass(frozen=True)
class Decoded:
    """joints: float32 [B, T, 17, D] in box coordinates; confidence: float32 [B, T, 17] in 0..1, was the joint seen."""

    joints: NDArray[np.float32]
    confidence: NDArray[np.float32]


class Session:
    """One graph of a tokenizer on one backend."""

    def __init__(self, spec: TokenizerSpec, graph: Graph, backend: str, why: str, states: Mapping[str, Any]) -> None:
        self.spec, self.backend, self.why = spec, backend, why
        self._graph = graph
        self._states = {path: tuple(shape) for path, shape in states.items()}

    def init_state(self, batch: int) -> State:
        """Return the state of `batch` streams that have seen nothing."""
        if isinstance(self._graph, DeviceGraph):
            return self._graph.init_state(batch)
        return state_of.zeros(self._states, batch)

    def warm(self, batches: tuple[int, ...]) -> None:
        """Compile and run once for these batch sizes, so that no live step pays for it."""
        for batch in batches:
            self._graph.run(zeros(self._graph.inputs, batch))

    def _step(self, name: str, value: NDArray[Any], reset: NDArray[np.bool_], state: State) -> tuple[Arrays, State]:
        expected = tuple(self._graph.inputs[name][1:])
        if value.shape[1:] != expected or reset.shape != value.shape[:1]:
            raise ValueError(
                f"{self.spec.name}: {name} must be [B, {', '.join(map(str, expected))}] and reset [B], "
                f"got {list(value.shape)} and {list(reset.shape)}"
            )
        feeds = {name: np.ascontiguousarray(value), "reset": reset.astype(np.float32)}
        if isinstance(self._graph, DeviceGraph):
            return self._graph.step(feeds, state)
        feeds |= {f"state.{path}": past for path, past in state.items()}
        out = self._graph.run(feeds)
        return out, {path: out[f"new_state.{path}"] for path in self._states}


class Encoder(Session):
    """Windows in, tokens out."""

    def step(self, x: NDArray[np.float32], reset: NDArray[np.bool_], state: State) -> tuple[Encoded, State]:
        """Encode one hop of B streams.

        x: float32 [B, *spec.input_shape]; reset: bool [B], start this stream afresh; state: as from `init_state`.
        """
        out, new = self._step("x", x, reset, state)
        return Encoded(out["tokens"], out["latent"]), new


class Decoder(Session):
    """Tokens in, joints out."""

    def step(self, tokens: NDArray[Any], reset: NDArray[np.bool_], state: State) -> tuple[Decoded, State]:
        """Decode one hop of B streams. tokens: [B, L, t, h, w], each id below the vocabulary; else as in `Encoder`.

        Raises ValueError for an id beyond the vocabulary.
        """
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < self.spec.vocabulary:
            raise ValueError(f"{self.spec.name}: ids must be in 0..{self.spec.vocabulary - 1}")
        out, new = self._step("tokens", tokens.astype(np.int32), reset, state)
        return Decoded(out["joints"], out["confidence"]), new


def open_encoder(
    tokenizer: Tokenizer | str | Path, backend: Backend = "auto", precision: Precision = "fp32"
) -> Encoder:
    """Open a tokenizer's encoder. Raises TokenizerError where it cannot be run."""
    tokenizer = tokenizer if isinstance(tokenizer, Tokenizer) else load_tokenizer(tokenizer)
    graph, name, why = _open(tokenizer, "encoder", backend, precision)
    states = tokenizer.spec.encoder_states
    _check_graph(tokenizer, tokenizer.encoder, graph, "x", tokenizer.spec.input_shape, states)
    _check_outputs(tokenizer, tokenizer.encoder, graph, {"tokens": tokenizer.spec.token_grid}, {"latent"}, states)
    return Encoder(tokenizer.spec, graph, name, why, states)


def open_decoder(
    tokenizer: Tokenizer | str | Path, backend: Backend = "auto", precision: Precision = "fp32"
) -> Decoder:
    """Open a tokenizer's decoder. Raises TokenizerError where it cannot be run."""
    tokenizer = tokenizer if isinstance(tokenizer, Tokenizer) else load_tokenizer(tokenizer)
    graph, name, why = _open(tokenizer, "decoder", backend, precision)
    states = tokenizer.spec.decoder_states
    _check_graph(tokenizer, tokenizer.decoder, graph, "tokens", tokenizer.spec.token_grid, states)
    frames = (tokenizer.spec.hop, tokenizer.spec.joints)
    decoded = {"joints": (*frames, tokenizer.spec.dims), "confidence": frames}
    _check_outputs(tokenizer, tokenizer.decoder, graph, decoded, set(), states)
    return Decoder(tokenizer.spec, graph, name, why, states)


def _tensorrt(tokenizer: Tokenizer, part: Part, precision: Precision) -> Graph:
    from engine.backends.tensorrt import open_engine

    return open_engine(tokenizer, part, precision)


def _openvino(tokenizer: Tokenizer, part: Part, precision: Precision) -> Graph:
    from engine.backends.openvino import OpenVinoGraph

    return OpenVinoGraph(tokenizer.graph(part), precision)


def _onnxruntime(tokenizer: Tokenizer, part: Part, precision: Precision) -> Graph:
    from engine.backends.onnxruntime import OnnxRuntimeGraph

    return OnnxRuntimeGraph(tokenizer.graph(part), precision)


Load = Callable[[Tokenizer, Part, Precision], Graph]

BACKENDS: dict[str, Load] = {"tensorrt": _tensorrt, "openvino": _openvino, "onnxruntime": _onnxruntime}


def _open(tokenizer: Tokenizer, part: Part, backend: Backend, precision: Precision) -> tuple[Graph, str, str]:
    """Return the graph, the backend's name and why it was taken."""
    file = tokenizer.graph(part)
    if backend != "auto":
        try:
            return BACKENDS[backend](tokenizer, part, precision), backend, "as asked"
        except ImportError as error:
            extra = "'kinetoken[tensorrt]' or 'kinetoken[tensorrt-rtx]'" if backend == "tensorrt" else backend
            raise TokenizerError(f"backend {backend} is not installed ({error}): pip install {extra}") from None
        except KinetokenError:
            raise
        except Exception as error:
            raise TokenizerError(f"{backend} cannot read {file}: {_first_line(error)}") from None
    timed: list[tuple[float, str, Graph]] = []
    failures = []
    try:
        return _tensorrt(tokenizer, part, precision), "tensorrt", "an engine for this GPU is here"
    except ModuleNotFoundError:
        pass  # nobody who has not installed it waits for it
    except EngineError as error:
        failures.append(f"not tensorrt: {error}")
    for name, load in BACKENDS.items():
        if name == "tensorrt":
            continue
        try:
            graph = load(tokenizer, part, precision)
            timed.append((_milliseconds(graph), name, graph))
        except Exception as error:  # a backend that is absent or broken must not keep the others from serving
            failures.append(f"{name}: {_first_line(error)}")
    if not timed:
        raise TokenizerError(f"no backend can run {file}: {'; '.join(failures)}")
    timed.sort(key=lambda entry: entry[0])
    why = "fastest here: " + ", ".join(f"{name} {ms:.1f} ms" for ms, name, _ in timed)
    return timed[0][2], timed[0][1], "; ".join([why, *failures])


def _milliseconds(graph: Graph) -> float:
    feeds = zeros(graph.inputs, batch=1)
    graph.run(feeds)
    times = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        graph.run(feeds)
        times.append(time.perf_counter() - start)
    return 1000 * sorted(times)[TRIALS // 2]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _check_graph(
    tokenizer: Tokenizer,
    file: Path,
    graph: Graph,
    name: str,
    shape: tuple[int, ...],
    states: Mapping[str, tuple[int, ...]],
) -> None:
    expected = {name: shape, "reset": ()} | {f"state.{path}": tuple(size) for path, size in states.items()}
    found = {key: tuple(size[1:]) for key, size in graph.inputs.items()}
    if found != expected:
        wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        raise TokenizerError(
            f"{file} does not fit {tokenizer.folder / 'config.json'}: differs in {', '.join(wrong)}; "
            "export the tokenizer again"
        )


def _check_outputs(
    tokenizer: Tokenizer,
    file: Path,
    graph: Graph,
    shapes: Mapping[str, tuple[int, ...]],
    others: set[str],
    states: Mapping[str, tuple[int, ...]],
) -> None:
    """Run the graph once: what comes out must have the names and shapes that the configuration promises."""
    found = {name: array.shape[1:] for name, array in graph.run(zeros(graph.inputs, batch=1)).items()}
    expected = {**shapes, **{f"new_state.{path}": tuple(size) for path, size in states.items()}}
    wrong = {name for name, shape in expected.items() if found.get(name) != tuple(shape)} | (others - found.keys())
    if wrong:
        raise TokenizerError(
            f"{file} does not fit {tokenizer.folder / 'config.json'}: gives no right {', '.join(sorted(wrong))}; "
            "export the tokenizer again"
        )
