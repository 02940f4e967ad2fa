"""Train a tokenizer: python -m training.train configs/heatmap2d-f8.yaml [key=value ...] [--resume RUN].

Every random number is drawn from (seed, step), so a run that is stopped and resumed goes on to the same losses.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf.errors import OmegaConfBaseException
from rich.progress import track

from training.config import TrainConfig, load_config, save_config
from training.data.recordings import Clip, read_clips
from training.data.windows import Array, WindowSampler
from training.losses import total_loss
from training.model.tokenizer import Tokenizer
from training.roundtrip import Tokens, run_clips


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear rise, then a cosine down to the last rate."""
    o = config.optim
    if step < o.rise_steps:
        return o.rate * (step + 1) / o.rise_steps
    along = (step - o.rise_steps) / max(1, o.steps - o.rise_steps)
    return o.last_rate + (o.rate - o.last_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, along)))


def build(config: TrainConfig) -> Tokenizer:
    """Make the network, its codebook revived in proportion to how many tokens a step has."""
    c = config
    tokens_per_code = c.data.batch * c.data.hops * c.model.places / c.model.vocabulary
    return Tokenizer(c.model, dead_below=c.optim.dead_share * tokens_per_code)


class TorchCodec:
    """A network in training as a codec."""

    def __init__(self, network: Tokenizer) -> None:
        self.network = network

    def roundtrip(self, keypoints: Array) -> tuple[Tokens, Array]:
        """See `training.roundtrip.Codec`."""
        with torch.inference_mode():
            out = self.network(torch.from_numpy(keypoints))
        return out.tokens[0].numpy(), out.joints.numpy()


class Run:
    """One training run: network, optimiser and the step they are at, kept in a folder."""

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        torch.manual_seed(config.seed)
        self.network = build(config)
        # Matrices between features learn by Muon; everything else, and what meets the outside, by Adam.
        blocks = [self.network.encoder.frame, self.network.encoder.token, self.network.encoder.merge]
        blocks += [each for name, each in self.network.decoder.named_children() if name not in ("head", "presence")]
        matrices = [m.weight for block in blocks for m in block.modules() if isinstance(m, torch.nn.Linear)]
        known = {id(p) for p in matrices}
        rest = [p for p in self.network.parameters() if id(p) not in known]
        o = config.optim
        self.optimisers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=o.rate, weight_decay=o.weight_decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=o.rate, betas=(0.9, 0.97), weight_decay=0.0),
        ]
        self.step = 0

    @property
    def checkpoint(self) -> Path:
        """The file with all that a resumed run needs."""
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "network": self.network.state_dict(),
            "optimisers": [each.state_dict() for each in self.optimisers],
            "step": self.step,
        }
        part = self.checkpoint.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, self.checkpoint)

    def load(self) -> None:
        """Read the checkpoint."""
        state: dict[str, Any] = torch.load(self.checkpoint, weights_only=True)
        self.network.load_state_dict(state["network"])
        for each, kept in zip(self.optimisers, state["optimisers"], strict=True):
            each.load_state_dict(kept)
        self.step = state["step"]

    def advance(self, sampler: WindowSampler) -> dict[str, float]:
        """Take one step; return the loss terms by name."""
        c = self.config
        torch.manual_seed(c.seed * 1_000_003 + self.step)
        window = sampler.draw(np.random.default_rng([c.seed, self.step]), c.data.batch)
        keypoints, truth = torch.from_numpy(window.keypoints), torch.from_numpy(window.truth)
        for group in (group for each in self.optimisers for group in each.param_groups):
            group["lr"] = learning_rate(self.step, c)
        with torch.autocast("cpu", torch.bfloat16, enabled=c.optim.bfloat16):
            out = self.network(keypoints, quantize=self.step >= c.optim.plain_steps)
        loss, terms = total_loss(out, keypoints, truth, c.model, c.losses)
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), c.optim.clip)
        for each in self.optimisers:
            each.step()
        self.step += 1
        terms["codes"] = float(len(out.tokens.unique()))
        return terms

    def validate(self, sets: dict[str, list[Clip]]) -> str:
        """Mean joint error on each set, as text."""
        self.network.eval()
        parts = []
        for name, clips in sets.items():
            result = run_clips(TorchCodec(self.network), clips, self.config.model.dims, self.config.model.hop)
            codes = len(np.unique(result.tokens))
            parts.append(f"{name} {result.errors_cm.mean():.2f} cm, {codes} codes")
        self.network.train()
        return "; ".join(parts)


def train(config: TrainConfig, folder: Path, resume: bool) -> None:
    """Run a training to its last step, with a checkpoint now and then and at Ctrl-C."""
    if config.optim.threads:
        torch.set_num_threads(config.optim.threads)
    root = Path(config.data.root)
    sampler = WindowSampler(
        [read_clips(root / group.path) for group in config.data.train],
        [group.share for group in config.data.train],
        config.model.dims,
        config.model.hop,
        config.data.hops,
        config.data.augment,
    )
    # A quick look: every fifth recording. The figures to quote are those of training.evaluate, on all of them.
    sets = {path: read_clips(root / path)[::5] for path in config.data.validate}
    run = Run(config, folder)
    if resume:
        run.load()
    folder.mkdir(parents=True, exist_ok=True)
    save_config(config, folder / "config.yaml")
    since, last = time.monotonic(), run.step
    mean: dict[str, float] = {}
    try:
        for _ in track(range(run.step, config.optim.steps), description=config.name, disable=not sys.stdout.isatty()):
            for name, value in run.advance(sampler).items():
                mean[name] = mean.get(name, value) * 0.95 + value * 0.05
            if run.step % config.save_every == 0:
                run.save()
                pace = (time.monotonic() - since) / (run.step - last)
                since, last = time.monotonic(), run.step
                line = "  ".join(f"{name} {value:.3f}" for name, value in mean.items())
                print(f"step {run.step}  {line}  {pace:.2f} s/step", flush=True)
            if run.step % config.validate_every == 0 or run.step == config.optim.steps:
                print(f"step {run.step}  unseen: {run.validate(sets)}", flush=True)
    except KeyboardInterrupt:
        print(f"stopped at step {run.step}; go on with --resume {folder}")
    run.save()


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train", description="Train a tokenizer.", allow_abbrev=False
    )
    parser.add_argument("config", type=Path, help="a YAML file, such as configs/heatmap2d-f8.yaml")
    parser.add_argument("changes", nargs="*", help="key=value over the file, such as optim.steps=100")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with the run in this folder")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and train."""
    parser = build_parser()
    args = parser.parse_intermixed_args(argv)
    if args.resume and not (args.resume / "checkpoint.pt").is_file():
        parser.error(f"no run to resume in {args.resume}: it holds no checkpoint.pt")
    try:
        config = load_config(args.config, args.changes)
        folder = args.resume or Path(config.runs) / config.name
        if not args.resume and (folder / "checkpoint.pt").exists():
            parser.error(f"{folder} holds a run already: go on with --resume {folder}, or give another name=...")
        train(config, folder, resume=args.resume is not None)
    except (FileNotFoundError, ValueError, OmegaConfBaseException) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
