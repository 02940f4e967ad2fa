"""Trains the network of a predictive tokenizer: prediction in the loop, and its codebooks.

Each step runs windows of several hops through encoder and decoder as they will run live: what is decoded of a hop is
the past of the next. The encoder's search has no gradient and needs none; the decoder's output is differentiable in
everything that is trained, its codebooks included.

On a GPU the thousands of small kernels of a step are recorded once as a CUDA graph and played for each batch.
"""

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.errors import TokenizerError
from training.predictive.begin import begin
from training.predictive.config import ECHO, PredictiveConfig, PredictiveTrainConfig
from training.predictive.losses import SIDE_CM, joint_error, velocity_error
from training.predictive.network import Prediction, PredictiveNetwork, State
from training.predictive.recorded import Recorded
from training.predictive.windows import Batch, BatchLoader, open_sampler
from training.run.distributed import choose_device

UNFOLLOWED = 0.3
"""Share of windows in which each hop has its own number of levels; in the others all have the same."""

MIDST = 0.5
"""Share of windows that begin in the midst of a stream, of which nothing is known; the others are its beginning."""

DEAF = 0.15
"""Share of the hops that an anchor is trained to do without, as a reader that lost them has to."""

REVIVE_EVERY = 100
"""Steps after which codes that were hardly ever taken become residuals that were just met."""

UNUSED = 0.02
"""Share of the uniform use below which a code counts as unused."""


class PredictiveRun:
    """A training in memory: what a step needs and a checkpoint holds. Close it when it is done."""

    def __init__(self, config: PredictiveTrainConfig, folder: Path) -> None:
        c = self.config = config
        torch.manual_seed(c.seed)
        self.folder, self.step = folder, 0
        self.device = choose_device(c.optim.device)
        self.sampler = open_sampler(c)
        self.network = PredictiveNetwork(c.model).to(self.device)
        self.kept = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.use = torch.zeros(c.model.levels, c.model.vocabulary, device=self.device)
        self.optimizer, self._rates = self._optimizer()
        self._loader = BatchLoader(self.sampler, c)
        self._learned = Recorded(self._learn, self.device, self.network.parameters())

    def close(self) -> None:
        """End the threads or processes that draw windows."""
        self._loader.close()

    @property
    def waited(self) -> float:
        """Seconds that steps waited for their windows."""
        return self._loader.waited

    def _optimizer(self) -> tuple[torch.optim.Optimizer, list[float]]:
        o, network = self.config.optim, self.network
        special = {id(network.codes), id(network.basis), id(network.linear)}
        groups = [
            {
                "params": [p for p in network.parameters() if id(p) not in special],
                "lr": o.rate,
                "weight_decay": o.weight_decay,
            },
            {"params": [network.codes], "lr": o.rate * o.code_rate, "weight_decay": 0.0},
            {"params": [network.basis, network.linear], "lr": o.rate * o.fitted_rate, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, betas=(0.9, 0.98)), [float(group["lr"]) for group in groups]  # type: ignore[arg-type]

    @property
    def checkpoint(self) -> Path:
        """Where the run is saved."""
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        scratch = self.checkpoint.with_suffix(".new")
        torch.save(
            {
                "network": self.network.state_dict(),
                "kept": self.kept.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "use": self.use,
                "step": self.step,
            },
            scratch,
        )
        scratch.replace(self.checkpoint)

    def load(self) -> None:
        """Go on from the checkpoint. Raises TokenizerError where it is damaged or of another configuration."""
        state = read_checkpoint(self.checkpoint)
        try:
            self.network.load_state_dict(state["network"])
            self.kept.load_state_dict(state["kept"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.use.copy_(state["use"])
            self.step = int(state["step"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise _of_another(self.checkpoint, error) from None

    def begin(self) -> None:
        """Give the network its first weights. Raises TokenizerError where those of `start_from` do not fit."""
        if self.config.start_from:
            before, _ = trained(Path(self.config.start_from), self.config.model)
            self.network.load_state_dict(before.state_dict())
        else:
            self.network.cpu()
            begin(self.network, self.sampler, self.config)
            self.network.to(self.device)
        self.kept.load_state_dict(self.network.state_dict())

    def advance(self) -> dict[str, Tensor]:
        """Do one step and return the terms of its loss by name."""
        c, o = self.config, self.config.optim
        batch = self._loader.take(self.step)  # before the seed is set: a loader draws from torch's numbers
        torch.manual_seed((c.seed << 32) + self.step)
        along = min(1.0, (self.step + 1) / o.rise_steps) * (0.51 + 0.49 * math.cos(math.pi * self.step / o.steps))
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * along
        self.optimizer.zero_grad(set_to_none=False)
        found = self._learned(batch)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), o.clip)
        self.optimizer.step()
        self._note(found)
        self.step += 1
        weight = 1 - min(o.average, self.step / (self.step + 19))
        with torch.no_grad():
            torch._foreach_lerp_([*self.kept.parameters()], [*self.network.parameters()], weight)
            for copied, buffer in zip(self.kept.buffers(), self.network.buffers(), strict=True):
                copied.copy_(buffer)
        return found.terms

    def _learn(self, batch: Batch) -> "Found":
        """Run windows through encoder and decoder and add to the gradients."""
        o = self.config.optim
        found = self._run(batch)
        terms = found.terms
        loss = (
            terms["joint"]
            + o.coarse * terms["coarse"]
            + o.unaided * terms["unaided"]
            + o.anchor * terms["anchor"]
            + terms["presence"]
            + o.velocity * terms["velocity"]
        )
        loss.backward()
        return Found({name: term.detach() for name, term in terms.items()}, found.ids, found.wanted)

    def _run(self, batch: Batch) -> "Found":
        """Run windows through encoder and decoder; the terms are means over the hops."""
        c, network, device = self.config.model, self.network, self.device
        count, hops = batch.target.shape[:2]
        state = State.unknown(count, c, device).reset((torch.rand(count, device=device) >= MIDST).float())
        fixed = torch.randint(1, c.levels + 1, (count,), device=device)
        free = torch.rand(count, device=device) < UNFOLLOWED
        sums: dict[str, Tensor] = {}
        ids, residuals = [], []
        for hop in range(hops):
            box, target, known = batch.boxes[:, hop], batch.target[:, hop], batch.known[:, hop]
            with self._low_precision():
                prediction = network.predict(state, box)
            with torch.no_grad():
                paths, _ = network.search(prediction, target, known, self.config.optim.beam)
                residuals.append(network.residual(prediction, target, known))
            ids.append(paths[:, -1])
            levels = torch.where(free, torch.randint(0, c.levels + 1, (count,), device=device), fixed)
            fewer = (torch.rand(count, device=device) * levels).long()
            total, full, coarse = self._decode(prediction, paths, levels, fewer)
            terms = self._losses(batch, hop, prediction, full, coarse)
            sums = {name: sums.get(name, 0) + value / hops for name, value in terms.items()}
            share = (levels / c.levels)[:, None]
            state = network.remember(state, box, prediction, total.detach(), full.detach(), share)
        return Found(sums, torch.cat(ids), residuals[hops // 2])

    def _low_precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.optim.bfloat16)

    def _losses(
        self, batch: Batch, hop: int, prediction: Prediction, full: Tensor, coarse: Tensor
    ) -> dict[str, Tensor]:
        """Return what counts of a hop [B, V], with its levels and with fewer."""
        c = self.config.model
        target, truth = batch.target[:, hop], batch.truth[:, hop]
        place = (truth, batch.there[:, hop], batch.boxes[:, hop, -1:] / SIDE_CM, c.dims)
        presence = ((each - target)[:, c.coordinates :].abs().mean() for each in (full, coarse, prediction.forecast))
        terms = {
            "joint": joint_error(full, *place),
            "coarse": joint_error(coarse, *place),
            "unaided": joint_error(prediction.forecast, *place),
            "anchor": joint_error(self._deaf_anchor(prediction), *place),
            "presence": torch.stack([*presence]).sum(),
        }
        if hop:
            terms["velocity"] = velocity_error(batch, hop, full, prediction.past[:, 0], c)
        return terms

    def _deaf_anchor(self, prediction: Prediction) -> Tensor:
        """Return anchors [B, V] where some of the last hops were lost."""
        c = self.config.model
        count, device = len(prediction.heard), self.device
        got = (torch.rand(count, ECHO, device=device) >= DEAF).float()
        rest = torch.ones(count, c.dims + 1, device=device)
        return self.network.anchor(
            prediction.heard * torch.cat([got.repeat_interleave(c.directions, dim=1), got, rest], dim=1)
        )

    def _decode(
        self, prediction: Prediction, paths: Tensor, levels: Tensor, fewer: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sums of codes [B, K], and the hop [B, V] as it is decoded with these levels and with fewer."""
        c = self.config.model
        some, less = (self.network.sum_of(_path(paths, count)) for count in (levels, fewer))
        shares = torch.stack([levels, fewer], dim=1)[..., None] / c.levels
        with self._low_precision():
            full, coarse = self.network.decode(
                prediction.with_axis(2), torch.stack([some, less], dim=1), shares
            ).unbind(dim=1)
        return some, full, coarse

    @torch.no_grad()
    def _note(self, found: "Found") -> None:
        """Count the codes in use; now and then let the unused ones become what was wanted in this batch."""
        self.use.scatter_add_(1, found.ids.T, torch.ones_like(found.ids.T, dtype=self.use.dtype))
        if self.step % REVIVE_EVERY != REVIVE_EVERY // 2 or self.step < 2 * REVIVE_EVERY:
            return
        codes, wanted = self.network.codes, found.wanted
        for level, counts in enumerate(self.use):
            unused = (counts <= UNUSED * counts.mean()).nonzero()[: len(wanted) // 2, 0]
            order = torch.randperm(len(wanted), device=self.device)
            codes[level, unused] = wanted[order[: len(unused)]]
            nearest = (codes[level].square().sum(dim=1) - 2 * wanted @ codes[level].T).argmin(dim=1)
            wanted = wanted - codes[level][nearest]
        self.use.zero_()


@dataclass(frozen=True)
class Found:
    """What a step comes to. terms: of the loss, by name; ids: [N, L], of all hops; wanted: [B, K], of one hop."""

    terms: dict[str, Tensor]
    ids: Tensor
    wanted: Tensor


def _path(paths: Tensor, levels: Tensor) -> Tensor:
    """Return the ids [B, L] of the best choice of so many levels [B], of paths [B, L, L]; -1 for the others."""
    number = torch.arange(paths.shape[1], device=paths.device)
    row = (levels - 1).clamp(min=0)[:, None, None].expand(-1, 1, paths.shape[2])
    return torch.where(number < levels[:, None], paths.gather(1, row)[:, 0], -1)


def trained(folder: Path, config: PredictiveConfig) -> tuple[PredictiveNetwork, int]:
    """Return the network of a run, the running mean of its weights, and the step that it came to.

    Raises TokenizerError where the checkpoint is damaged or of another configuration.
    """
    network = PredictiveNetwork(config)
    checkpoint = folder / "checkpoint.pt"
    state = read_checkpoint(checkpoint)
    try:
        network.load_state_dict(state["kept"])
        return network.eval(), int(state["step"])
    except (RuntimeError, KeyError) as error:
        raise _of_another(checkpoint, error) from None


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Return what a checkpoint holds. Raises TokenizerError where it is damaged."""
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a file that is not its own
        raise TokenizerError(f"{file} is damaged ({str(error).strip().splitlines()[0]}): train again") from None
    return state


def _of_another(checkpoint: Path, error: Exception) -> TokenizerError:
    return TokenizerError(f"{checkpoint} is of another configuration ({str(error).strip().splitlines()[0]})")
