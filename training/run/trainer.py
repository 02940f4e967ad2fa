"""One training run: the networks, their optimisers and the step they are at, kept in a folder."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from training.config import OptimConfig, TrainConfig
from training.model.discriminator import Adversary, random_stretch
from training.model.losses import total_loss, true_maps
from training.model.lpips import FRAMES, Perceptual, pictures
from training.model.tokenizer import Reconstruction, TokenizerNetwork
from training.run import distributed as parallel
from training.run.checkpoint import _of_another, _read, build


def make_optimisers(network: TokenizerNetwork, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Return the optimisers: matrices between features learn by Muon; all else, and what meets the outside, by Adam."""
    o = config.optim
    outside = ("head", "presence")
    if config.model.network == "conv3d":
        matrices = []
    else:
        encoder, decoder = network.encoder, network.decoder
        blocks = [getattr(encoder, name) for name in ("frame", "token", "merge")]
        blocks += [each for name, each in decoder.named_children() if name not in outside]
        matrices = [m.weight for block in blocks for m in block.modules() if isinstance(m, nn.Linear)]
    known = {id(p) for p in matrices}
    rest = [p for p in network.parameters() if id(p) not in known]
    adam = torch.optim.AdamW(rest, lr=o.rate, betas=(0.9, 0.97), weight_decay=0.0)
    if not matrices:
        return [adam]
    muon = torch.optim.Muon(matrices, lr=o.rate, weight_decay=o.weight_decay, adjust_lr_fn="match_rms_adamw")
    return [muon, adam]


class Batches(Protocol):
    """Where the windows of a step come from, as `training.run.batches.BatchLoader`."""

    def take(self, step: int) -> tuple[Tensor, Tensor]:
        """Return keypoints [B, T, V * J, D + 1] and truth [B, T, V * J, D] of a step."""


class Run:
    """Network, optimisers, adversary and the step they are at.

    Every random number is drawn from (seed, step, process), so a run that is stopped and resumed goes on to the
    same losses.
    """

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.device = parallel.choose_device(config.optim.device)
        torch.manual_seed(config.seed)
        self.network = build(config).to(self.device)
        if config.model.network == "conv3d" and self.device.type == "cuda":
            self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.optimisers = make_optimisers(self.network, config)
        self.adversary = (
            Adversary(config.adversary, config.model.drawn_maps, self.device, parallel.wrap)
            if config.adversary.weight > 0
            else None
        )
        self.perceptual = (
            Perceptual(Path(config.losses.perceptual_weights)).to(self.device) if config.losses.perceptual > 0 else None
        )
        if config.optim.compile:
            # Not the quantizer between them: its k-means and revivals cannot be compiled. The adversary's weight comes
            # from a first look at the gradients, so what backward needs must outlive it.
            torch._functorch.config.donated_buffer = False
            self.network.encoder.compile()
            self.network.decoder.compile()
        self._forward: Callable[..., Reconstruction] = parallel.wrap(self.network, self.device)
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
        if self.adversary:
            state["adversary"] = self.adversary.state_dict()
        part = self.checkpoint.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, self.checkpoint)

    def load(self) -> None:
        """Read the checkpoint.

        Raises TokenizerError where it is damaged or of another configuration than this run's.
        """
        state = _read(self.checkpoint)
        try:
            self.network.load_state_dict(state["network"])
            for each, kept in zip(self.optimisers, state["optimisers"], strict=True):
                each.load_state_dict(kept)
            if self.adversary and "adversary" in state:
                self.adversary.load_state_dict(state["adversary"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise _of_another(self.checkpoint, error) from None
        self.step = state["step"]

    def advance(self, feed: Batches) -> dict[str, Tensor]:
        """Take one step; return the loss terms by name, on the device."""
        c = self.config
        keypoints, truth = (each.to(self.device, non_blocking=True) for each in feed.take(self.step))
        torch.manual_seed(c.seed * 1_000_003 + self.step + parallel.rank() * 1_000_000_007)
        for group in (group for each in self.optimisers for group in each.param_groups):
            group["lr"] = learning_rate(self.step, c.optim)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=c.optim.bfloat16):
            quantize = self.step >= c.optim.plain_steps
            out = self._forward(keypoints, quantize=quantize, temperature=temperature(self.step, c.optim))
        loss, terms = total_loss(out, keypoints, truth, c.model, c.losses)
        if self.perceptual:
            distance = self._perceived(self.perceptual, out, keypoints, truth)
            loss, terms = loss + c.losses.perceptual * distance, terms | {"perceptual": distance.detach()}
        if self.adversary and self.step >= c.adversary.start:
            pull, more = self._adversarial(self.adversary, out, keypoints, truth, loss)
            loss, terms = loss + pull, terms | more
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), c.optim.clip)
        for each in self.optimisers:
            each.step()
        self.step += 1
        used = torch.zeros(c.model.vocabulary, device=self.device)
        used[out.tokens.flatten()] = 1
        return terms | {"gradient": norm.detach(), "codes": used.sum()}

    def _perceived(self, perceptual: Perceptual, out: Reconstruction, keypoints: Tensor, truth: Tensor) -> Tensor:
        """Return how far the decoded heatmaps of some frames are from the real ones to an eye."""
        model = self.config.model
        part = random_stretch(FRAMES, truth.shape[1])
        real = true_maps(truth[:, part], keypoints[:, part, :, -1], model)
        fake = out.heatmaps(model.sigma, part)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.optim.bfloat16):
            return perceptual(pictures(real, model.planes), pictures(fake, model.planes)).float()

    def _adversarial(
        self, adversary: Adversary, out: Reconstruction, keypoints: Tensor, truth: Tensor, loss: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Let the adversary learn, then return its pull at the network."""
        model = self.config.model
        part = random_stretch(adversary.config.frames, truth.shape[1])
        with torch.no_grad():
            real = true_maps(truth[:, part], keypoints[:, part, :, -1], model)
        fake = out.heatmaps(model.sigma, part)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.optim.bfloat16):
            learnt = adversary.learn(real, fake)
            pull, terms = adversary.pull(real, fake, loss, self.network.decoder.last_layer)
        return pull, learnt | terms


def learning_rate(step: int, optim: OptimConfig) -> float:
    """Linear rise, then a cosine down to the last rate."""
    if step < optim.rise_steps:
        return optim.rate * (step + 1) / optim.rise_steps
    along = (step - optim.rise_steps) / max(1, optim.steps - optim.rise_steps)
    return optim.last_rate + (optim.rate - optim.last_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, along)))


def temperature(step: int, optim: OptimConfig) -> float:
    """Exponential fall of the dVAE's temperature over the first three quarters of the steps, then the last one."""
    along = min(1.0, step / max(1.0, 0.75 * optim.steps))
    return optim.temperature * (optim.last_temperature / optim.temperature) ** along
