"""The beginning of a model card: what a tokenizer is and where it comes from, as far as its run knows."""

import json
from pathlib import Path

from engine.spec import TokenizerSpec
from training import markdown
from training.config import TrainConfig


def begin_card(spec: TokenizerSpec, config: TrainConfig, run: Path, step: int) -> str:
    """Return a model card in Markdown for a tokenizer of a run; what only its maker knows is left to say.

    run: the run's folder; its run.json (see `training.run.provenance`) names code and data. step: that it came to.
    """
    levels, steps, height, width = spec.token_grid
    file = run / "run.json"
    starts = json.loads(file.read_text()) if file.is_file() else []
    data = config.data
    shares = sum(group.share for group in data.train)
    unseen = [str(Path(data.root) / path) for path in data.validate] or ["RECORDINGS"]
    lines = [
        f"# {spec.name}",
        "",
        f"A {'causal' if spec.causal else 'windowed'} tokenizer of human motion: {spec.dims}D, heatmaps of "
        f"{spec.grid} x {spec.grid}, {spec.fps:g} frames a second, {spec.window} frames a packet, "
        f"{levels * steps * height * width} tokens of a vocabulary of {spec.vocabulary} ({levels} x {steps} x "
        f"{height} x {width}: levels, time, height, width), {spec.bits_per_second:.0f} bit/s a person. "
        f"Weights `{spec.label}`.",
        "",
        "How well it does on motion that it has not seen:",
        "",
        "```sh",
        f"python -m training.evaluate DIRECTORY --data {' '.join(unseen)}",
        "```",
        "",
        "## How it was made",
        "",
        f"{step} steps of {data.batch} windows of {config.packets * config.model.packet} frames, seed {config.seed}"
        + (f", begun with the weights of {config.start_from}" if config.start_from else "")
        + ".",
        "",
        *(f"- {group.share / shares:.0%} of the windows from {group.path}" for group in data.train),
        *(
            f"- from step {start['from_step']}: code {start['code']}, torch {start['torch']}, {start['processes']} x "
            f"{', '.join(start['machine']['gpus']) or start['machine']['cpu']}, {start['started']}"
            for start in starts
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
