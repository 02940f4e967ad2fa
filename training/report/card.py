"""The beginning of a model card: what a tokenizer is and where it comes from, as far as its run knows."""

import json
from pathlib import Path

from engine.spec import TokenizerSpec
from training import markdown
from training.config import DataConfig


def begin_card(spec: TokenizerSpec, data: DataConfig, frames: int, seed: int, start: str, run: Path, step: int) -> str:
    """Return a model card in Markdown for a tokenizer of a run; what only its maker knows is left to say.

    frames: of a window; start: whose weights it began with, if any's; run: the run's folder; its run.json (see
    `training.run.provenance`) names code and data. step: that it came to.
    """
    file = run / "run.json"
    starts = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    shares = sum(group.share for group in data.train)
    unseen = [str(Path(data.root) / path) for path in data.validate] or ["RECORDINGS"]
    lines = [
        f"# {spec.name}",
        "",
        f"{_what(spec)} Weights `{spec.label}`.",
        "",
        "How well it does on motion that it has not seen:",
        "",
        "```sh",
        f"python -m training.evaluate DIRECTORY --data {' '.join(unseen)}",
        "```",
        "",
        "## How it was made",
        "",
        f"{step} steps of {data.batch} windows of {frames} frames, seed {seed}"
        + (f", begun with the weights of {start}" if start else "")
        + ".",
        "",
        *(f"- {group.share / shares:.0%} of the windows from {group.path}" for group in data.train),
        *(
            f"- from step {each['from_step']}: code {each['code']}, torch {each['torch']}, {each['processes']} x "
            f"{', '.join(each['machine']['gpus']) or each['machine']['cpu']}, {each['started']}"
            for each in starts
        ),
        "",
        *markdown.table(
            ["data", "files", "sha256 over names and contents (or sizes, of very large sets)"],
            [
                [name, found["files"], f"`{found['sha256']}`"]
                for name, found in (starts[-1]["data"] if starts else {}).items()
            ],
        ),
        "",
        "## Licence",
        "",
        "Not stated. The terms of the recordings it was trained on may bind the weights too.",
    ]
    return "\n".join(lines) + "\n"


def _what(spec: TokenizerSpec) -> str:
    """Return what a tokenizer is, in a sentence or two."""
    levels, steps, height, width = spec.token_grid
    begin = f"A {'causal' if spec.causal else 'windowed'} tokenizer of human motion: {spec.dims}D, "
    if spec.kind == "predictive":
        return (
            f"{begin}predictive, {spec.fps:g} frames a second, {spec.hop} frames a packet, up to {levels} ids of "
            f"{levels} vocabularies of {spec.vocabulary}, coarse to fine: any first of them decode. At most "
            f"{spec.bits_per_second:.0f} bit/s a person."
        )
    return (
        f"{begin}heatmaps of {spec.grid} x {spec.grid}, {spec.fps:g} frames a second, {spec.window} frames a packet, "
        f"{levels * steps * height * width} tokens of a vocabulary of {spec.vocabulary} ({levels} x {steps} x "
        f"{height} x {width}: levels, time, height, width), {spec.bits_per_second:.0f} bit/s a person."
    )
