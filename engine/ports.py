"""What goes into a tokenizer's two graphs and comes out of them, and whether a graph keeps to it."""

from collections.abc import Mapping, Sequence

from engine.errors import TokenizerError
from engine.spec import Part, TokenizerFiles, TokenizerSpec

Shapes = Mapping[str, Sequence[int | None]]
"""Sizes by name, without the batch."""


def states_of(spec: TokenizerSpec, part: Part) -> dict[str, tuple[int, ...]]:
    """Return the sizes of one stream's states, by path."""
    states = spec.encoder_states if part == "encoder" else spec.decoder_states
    return {path: tuple(size) for path, size in states.items()}


def check_inputs(tokenizer: TokenizerFiles, part: Part, found: Shapes) -> None:
    """Raise TokenizerError where a graph does not take what the configuration promises."""
    spec = tokenizer.spec
    first = {"x": spec.input_shape} if part == "encoder" else {"tokens": spec.token_grid}
    states = {f"state.{path}": size for path, size in states_of(spec, part).items()}
    expected = {**first, "reset": (), **states}
    wrong = {name for name in expected.keys() | found.keys() if expected.get(name) != _sizes(found, name)}
    _refuse(tokenizer, part, "differs in", wrong)


def check_outputs(tokenizer: TokenizerFiles, part: Part, found: Shapes) -> None:
    """Raise TokenizerError where a graph does not give what the configuration promises."""
    spec = tokenizer.spec
    frames = (spec.hop, spec.joints)
    first = {"tokens": spec.token_grid} if part == "encoder" else {"joints": (*frames, spec.dims), "confidence": frames}
    states = {f"new_state.{path}": size for path, size in states_of(spec, part).items()}
    wrong = {name for name, sizes in {**first, **states}.items() if _sizes(found, name) != tuple(sizes)}
    if part == "encoder" and "latent" not in found:  # of as many channels as the quantizer has
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
