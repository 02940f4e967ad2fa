"""Puts a tokenizer's graph into int8: ranges from real windows, and only as many products as stay exact enough.

The first products, which see the drawn joints, suffer most from 8 bits; so products are kept in float32 from the input
on, more of them until the bounds of `engine.verify` hold on the windows.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from engine.backends.onnxruntime import OnnxRuntimeGraph
from engine.errors import EngineError
from engine.sample_windows import Windows
from engine.session import Decoder, Encoder, open_decoder, open_encoder
from engine.spec import Part, TokenizerFiles
from engine.tensorrt.precision import quantize
from engine.verify import LEAST_EQUAL, MOST_MM, compare_decoders, compare_encoders

SHARES = (0.0, 1 / 6, 1 / 3, 1 / 2, 2 / 3)
"""Of the products, kept in float32, tried in this order."""

STEPS = 6
"""Steps of all people whose ranges are taken, one in each of as many stretches of the recording."""

PEOPLE = 6
RESERVE = 0.25
"""Share of each bound that is kept back: other motion, and kernels that round otherwise, cost some too."""


def to_int8(
    tokenizer: TokenizerFiles, part: Part, graph: onnx.ModelProto, windows: Windows, say: Callable[[str], None]
) -> onnx.ModelProto:
    """Return the graph in int8. Raises EngineError where it is not exact enough even with few products rounded."""
    if tokenizer.spec.predictive:  # both ends' predictions must be the same: none of its products may be rounded
        raise EngineError(f"{tokenizer.spec.label} predicts in float32 only: take --precision fp32")
    feeds = list(calibration(tokenizer, part, windows))
    for share in SHARES:
        with tempfile.TemporaryDirectory() as scratch:
            rounded, kept, products = quantize(graph, feeds, Path(scratch), share)
            exact, found = _exact_enough(tokenizer, part, Path(scratch), windows.people(PEOPLE))
        say(f"{part}: {products - kept} of {products} products in int8: {found}")
        if exact:
            return rounded
    raise EngineError(f"{tokenizer.spec.label} does not stay exact in int8 ({part}, {found}): use --precision fp16")


def calibration(tokenizer: TokenizerFiles, part: Part, windows: Windows) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield what a graph takes in on these windows, its states among it."""
    encoder, decoder = open_encoder(tokenizer, "onnxruntime"), open_decoder(tokenizer, "onnxruntime")
    people, hops = windows.side.shape
    state, back = encoder.init_state(people), decoder.init_state(people)
    kept = {hops * n // STEPS for n in range(STEPS)}
    go_on, everybody = np.zeros(people, bool), np.arange(people)
    for hop in range(hops):
        x = np.ascontiguousarray(windows.keypoints[:, hop])
        added = windows.added(tokenizer.spec, "encoder", everybody, hop)
        encoded, after = encoder.step(x, go_on, state, **added)
        if hop in kept:
            taken, past = (x, state) if part == "encoder" else (encoded.tokens, back)
            name = "x" if part == "encoder" else "tokens"
            feeds = {name: taken, "reset": np.zeros(people, np.float32)}
            feeds |= windows.added(tokenizer.spec, part, everybody, hop)
            yield feeds | {f"state.{path}": array for path, array in past.items()}
        state = after
        if part == "decoder":
            added = windows.added(tokenizer.spec, "decoder", everybody, hop)
            _, back = decoder.step(encoded.tokens, go_on, back, **added)


def _exact_enough(tokenizer: TokenizerFiles, part: Part, folder: Path, windows: Windows) -> tuple[bool, str]:
    """Try the quantized graph in `folder` on the CPU. Returns whether the bounds hold with a reserve, and what came."""
    spec, graph = tokenizer.spec, OnnxRuntimeGraph(folder / "int8.onnx")
    exact = open_encoder(tokenizer, "onnxruntime"), open_decoder(tokenizer, "onnxruntime")
    if part == "encoder":
        equal = compare_encoders(exact[0], Encoder(spec, graph, "onnxruntime", ""), windows).equal
        return equal >= LEAST_EQUAL["int8"] + RESERVE * (1 - LEAST_EQUAL["int8"]), f"{100 * equal:.2f} % equal tokens"
    mm = compare_decoders(exact, Decoder(spec, graph, "onnxruntime", ""), windows).mm
    return mm <= (1 - RESERVE) * MOST_MM, f"joints within {mm:.2f} mm"
