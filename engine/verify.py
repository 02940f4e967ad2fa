"""Check an engine against ONNX Runtime in float32: python -m engine.verify --tokenizer NAME_OR_DIR --backend NAME.

Both run the same windows hop by hop, in several batch sizes, states carried, people reset and exchanged between batches
on the way.
"""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once(130)

import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import Precision
from engine.command.cli import run
from engine.errors import EngineError
from engine.sample_windows import Windows, read_windows
from engine.session import Backend, Decoder, Encoder, State, open_decoder, open_encoder
from engine.spec import TokenizerFiles, load_tokenizer
from engine.state import join, split

BATCHES = (1, 3, 16)
LEAST_EQUAL = {"fp32": 0.999, "fp16": 0.97, "bf16": 0.97, "int8": 0.97}
"""Share of tokens that must be equal, by precision."""

MOST_WORSE_MM = {"fp32": 0.1, "fp16": 1.0, "bf16": 1.0, "int8": 1.0}
"""Of a predictive tokenizer, by how much tokens may describe the joints worse than float32's, mean, in mm.

There, ids may differ: where two codes are as good as each other, rounding chooses, and what follows builds on it.
"""

MOST_MM = 2.0
"""Largest distance, in mm, between a decoded joint and float32's."""

RESET_EVERY = 13
"""Hops between a person's resets, each at a time of their own."""


@dataclass(frozen=True)
class Encoding:
    """equal: share of equal tokens; latent: largest difference of a latent's number, or of a joint that a predictive
    encoder gives; tokens: how many were compared; worse: by how much a predictive encoder's mean joint error is larger
    than float32's, mm, else 0."""

    equal: float
    latent: float
    tokens: int
    worse: float = 0.0


@dataclass(frozen=True)
class Decoding:
    """box, mm: largest distance between joints, in box units and mm; confidence: largest difference; joints: count."""

    box: float
    mm: float
    confidence: float
    joints: int


@dataclass(frozen=True)
class Verdict:
    """What was found, and the bounds."""

    encoding: Encoding
    decoding: Decoding
    least_equal: float
    most_mm: float = MOST_MM
    most_worse: float | None = None
    """Of predictive tokenizers, in place of `least_equal`."""

    @property
    def passed(self) -> bool:
        """Whether all bounds are kept."""
        e = self.encoding
        encoded = e.equal >= self.least_equal if self.most_worse is None else e.worse <= self.most_worse
        return encoded and self.decoding.mm <= self.most_mm


def verify(
    tokenizer: TokenizerFiles,
    backend: Backend,
    precision: Precision,
    windows: Windows,
    batches: Sequence[int] = BATCHES,
) -> Verdict:
    """Compare a backend with ONNX Runtime in float32. Raises KinetokenError where it cannot be run."""
    exact = open_encoder(tokenizer, "onnxruntime"), open_decoder(tokenizer, "onnxruntime")
    other = open_encoder(tokenizer, backend, precision), open_decoder(tokenizer, backend, precision)
    encodings = [compare_encoders(exact[0], other[0], windows.people(batch)) for batch in batches]
    decodings = [compare_decoders(exact, other[1], windows.people(batch)) for batch in batches]
    count = sum(each.tokens for each in encodings)
    return Verdict(
        Encoding(
            sum(each.equal * each.tokens for each in encodings) / count,
            max(each.latent for each in encodings),
            count,
            max(each.worse for each in encodings),
        ),
        Decoding(
            max(each.box for each in decodings),
            max(each.mm for each in decodings),
            max(each.confidence for each in decodings),
            sum(each.joints for each in decodings),
        ),
        LEAST_EQUAL[precision],
        most_worse=MOST_WORSE_MM[precision] if tokenizer.spec.predictive else None,
    )


def compare_encoders(exact: Encoder, other: Encoder, windows: Windows) -> Encoding:
    """Encode the same windows with both."""
    people, hops = windows.side.shape
    states: list[State] = [exact.init_state(people), other.init_state(people)]
    equal, count, latent = 0, 0, 0.0
    errors: list[float] = []
    for hop in range(hops):
        order = _order(hop, people)
        states = [_reordered(state, hop, people) for state in states]
        x, reset = np.ascontiguousarray(windows.keypoints[order, hop]), _reset(hop, order)
        added = windows.added(exact.spec, "encoder", order, hop)
        one, states[0] = exact.step(x, reset, states[0], **added)
        two, states[1] = other.step(x, reset, states[1], **added)
        equal += int((one.tokens == two.tokens).sum())
        count += one.tokens.size
        latent = max(latent, _apart(one.numbers, two.numbers))
        if one.joints is not None and two.joints is not None:
            side = windows.side[order, hop]
            errors.append(_error_mm(two.joints, x, side) - _error_mm(one.joints, x, side))
    return Encoding(equal / count, latent, count, float(np.mean(errors)) if errors else 0.0)


def _error_mm(joints: NDArray[np.float32], x: NDArray[np.float32], side: NDArray[np.float32]) -> float:
    """Return the mean distance in mm of joints [B, T, 17, D] from those seen in keypoints x; side: [B], cm."""
    apart = np.nan_to_num(np.linalg.norm(joints - x[..., :-1], axis=-1), nan=np.inf) * side[:, None, None] * 10
    return float((apart * x[..., -1]).sum() / max(1.0, x[..., -1].sum()))


def compare_decoders(exact: tuple[Encoder, Decoder], other: Decoder, windows: Windows) -> Decoding:
    """Decode the same tokens, those of the exact encoder, with both."""
    encoder, decoder = exact
    people, hops = windows.side.shape
    states: list[State] = [encoder.init_state(people), decoder.init_state(people), other.init_state(people)]
    box = mm = confidence = 0.0
    count = 0
    for hop in range(hops):
        order = _order(hop, people)
        states = [_reordered(state, hop, people) for state in states]
        x, reset = np.ascontiguousarray(windows.keypoints[order, hop]), _reset(hop, order)
        encoded, states[0] = encoder.step(x, reset, states[0], **windows.added(encoder.spec, "encoder", order, hop))
        added = windows.added(encoder.spec, "decoder", order, hop)
        one, states[1] = decoder.step(encoded.tokens, reset, states[1], **added)
        two, states[2] = other.step(encoded.tokens, reset, states[2], **added)
        apart = np.linalg.norm(np.nan_to_num(one.joints - two.joints, nan=np.inf), axis=-1)
        box = max(box, float(apart.max()))
        mm = max(mm, float((apart * windows.side[order, hop, None, None] * 10).max()))
        confidence = max(confidence, _apart(one.confidence, two.confidence))
        count += apart.size
    return Decoding(box, mm, confidence, count)


def _apart(one: NDArray[np.float32], two: NDArray[np.float32]) -> float:
    return float(np.nan_to_num(np.abs(one - two), nan=np.inf).max())


def _order(hop: int, people: int) -> NDArray[np.int_]:
    """Who is in which row: from every eighth hop on, everybody moves by one."""
    return np.roll(np.arange(people), hop // 8)


def _reordered(state: State, hop: int, people: int) -> State:
    """Let the rows of a state follow `_order`, as where people come and go."""
    if hop == 0 or hop % 8 or people == 1:
        return state
    each = split(state, people)
    return join([each[-1], *each[:-1]])


def _reset(hop: int, order: NDArray[np.int_]) -> NDArray[np.bool_]:
    resets: NDArray[np.bool_] = (hop + 5 * order) % RESET_EVERY == 0
    return resets if hop else np.ones(len(order), bool)


def report(verdict: Verdict) -> list[str]:
    """Return the findings as lines."""
    e, d = verdict.encoding, verdict.decoding
    bound = "" if verdict.most_worse is not None else f" (at least {100 * verdict.least_equal:g} %)"
    lines = [f"tokens equal        {100 * e.equal:.3f} %  of {e.tokens}{bound}"]
    if verdict.most_worse is None:
        lines.append(f"latent, largest     {e.latent:.2e}")
    else:
        lines.append(f"error of the tokens {e.worse:+.3f} mm against float32's (at most {verdict.most_worse:+g} mm)")
    return [
        *lines,
        f"joints, largest     {d.mm:.3f} mm, {d.box:.2e} of the box, of {d.joints} (at most {verdict.most_mm:g} mm)",
        f"confidence, largest {d.confidence:.2e}",
        "passed" if verdict.passed else "FAILED",
    ]


@dataclass(frozen=True)
class Config:
    """Check a tokenizer's engine against ONNX Runtime in float32."""

    EXITS: ClassVar = (5, 13, 14, 130)

    backend: Literal["tensorrt", "openvino", "onnxruntime"] | None = None
    """What to check."""
    tokenizer: str = "heatmap2d-f8"
    """Name of a shipped tokenizer, or a tokenizer directory."""
    precision: Precision = "fp32"
    """Precision of the matrix products."""
    data: list[Path] = field(default_factory=list)
    """Recordings (npz): joints [N, 17 or 19, 3] in cm and fps; by default the built-in motion."""
    batch: list[int] = field(default_factory=lambda: list(BATCHES))
    """People in one step, each in turn."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if self.backend is None:
            raise ValueError("--backend: name tensorrt, openvino or onnxruntime")
        if min(self.batch) < 1:
            raise ValueError(f"--batch {min(self.batch)}: at least 1")


EXAMPLES = """
  python -m engine.verify --tokenizer heatmap2d-f8 --backend tensorrt --precision fp16
  python -m engine.verify --backend openvino --precision bf16 --batch 1 16
"""


def main(config: Config, stop: threading.Event) -> None:
    """Verify and report. Raises EngineError where the engine is not exact enough."""
    assert config.backend is not None
    tokenizer = load_tokenizer(config.tokenizer)
    windows = read_windows(tokenizer.spec, config.data)
    batches = ", ".join(map(str, config.batch))
    print(f"{tokenizer.spec.label}, {config.backend} in {config.precision}, batches of {batches}")
    verdict = verify(tokenizer, config.backend, config.precision, windows, config.batch)
    print("\n".join(report(verdict)))
    if not verdict.passed:
        raise EngineError(f"{config.backend} in {config.precision} is not exact enough: use another precision")


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m engine.verify", examples=EXAMPLES, batch=True))
