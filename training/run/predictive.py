"""Trains the network of a predictive tokenizer: prediction in the loop, codebooks, and an end that lost something.

Each step runs windows of several hops through encoder and decoder as they will run live: what is decoded of a hop is
the past of the next. The encoder's search has no gradient and needs none; the decoder's output is differentiable in
everything that is trained, its codebooks included.

Beside it runs a reader that lost its state or a hop now and then and decodes the same ids: its distance to the encoder
must halve with each hop, so that a stream forgets what was lost.
"""

import copy
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from engine.errors import TokenizerError
from stream.motion.skeleton import J
from training.config import DataConfig, GroupConfig
from training.data.windows import WindowSampler
from training.evaluation.transform import PAST, batch_of, fitted, training_recordings
from training.model.predictive import PRESENCE, Prediction, PredictiveConfig, PredictiveNetwork, State

SIDE_CM = 180.0
"""Side of a usual box: errors weigh as if in centimetres over this."""

HIDDEN = 0.3
"""Weight of a joint that was hidden from the encoder but is known."""

UNFOLLOWED = 0.3
"""Share of windows in which each hop has its own number of levels; in the others all have the same."""

RESETS, LOSSES = 0.12, 0.15
"""Share of hops after which the second reader has lost its state, or has missed the hop."""

REVIVE_EVERY = 100
"""Steps after which codes that were hardly ever taken become residuals that were just met."""

UNUSED = 0.02
"""Share of the uniform use below which a code counts as unused."""

FIT_STEPS = (0.13, 0.065)
"""Steps of the transform codec whose prediction and basis the network begins with."""

FIT_EVERY = 6
"""Every sixth training recording is enough to fit it."""


def _data() -> DataConfig:
    return DataConfig(
        train=[GroupConfig("cmu_mocap/train"), GroupConfig("bandai_namco/dataset2")],
        validate=["cmu_mocap/val", "bandai_namco/dataset1"],
        hops=6,
        batch=192,
    )


@dataclass
class PredictiveOptimConfig:
    """Steps, rates and what is asked of the network beside the places of joints."""

    steps: int = 5000
    rate: float = 1.5e-3
    rise_steps: int = 200
    weight_decay: float = 0.05
    clip: float = 1.0
    code_rate: float = 3.0  # of the codebooks, as a multiple
    fitted_rate: float = 0.1  # of the basis and the linear prediction
    average: float = 0.998  # weights that are kept are a running mean
    velocity: float = 0.5  # weight of the error of joints' velocities
    coarse: float = 0.5  # weight of the error with fewer levels
    unaided: float = 0.3  # weight of the error of the prediction alone
    forgetting: float = 1.0  # weight of what the second reader's distance exceeds half of that before
    bfloat16: bool = True
    threads: int = 0  # 0: as many as the machine has


@dataclass
class PredictiveTrainConfig:
    """A training run of a predictive tokenizer."""

    name: str = "predictive"
    seed: int = 0
    runs: str = "runs"
    save_every: int = 250
    validate_every: int = 1000
    model: PredictiveConfig = field(default_factory=PredictiveConfig)
    data: DataConfig = field(default_factory=_data)
    optim: PredictiveOptimConfig = field(default_factory=PredictiveOptimConfig)


@dataclass
class Batch:
    """Windows hop by hop. target, known: [B, H, V]; truth: [B, H, P]; there: [B, H, hop * J], weights of its joints;
    boxes: [B, H, D + 1]."""

    target: Tensor
    known: Tensor
    truth: Tensor
    there: Tensor
    boxes: Tensor


class PredictiveRun:
    """A training in memory: what a step needs and a checkpoint holds."""

    def __init__(self, config: PredictiveTrainConfig, folder: Path) -> None:
        c = self.config = config
        torch.manual_seed(c.seed)
        self.folder, self.step = folder, 0
        self.sampler = _sampler(c)
        self.network = PredictiveNetwork(c.model)
        self.kept = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.use = torch.zeros(c.model.levels, c.model.vocabulary)
        self.optimizer, self._rates = self._optimizer()

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
            self.use, self.step = state["use"], int(state["step"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise TokenizerError(f"{self.checkpoint} does not fit its config.yaml: {error}") from None

    @torch.no_grad()
    def begin(self) -> None:
        """Start from linear prediction, the basis that goes with it, and codebooks by k-means of what that misses."""
        c, network = self.config.model, self.network
        sets = [Path(self.config.data.root) / group.path for group in self.config.data.train]
        recordings = training_recordings(sets, c.dims, c.hop, self.config.seed)
        (*_, codec) = fitted(batch_of(recordings[::FIT_EVERY], c.hop), FIT_STEPS)
        p, r = c.coordinates, c.rank
        network.mean[:p], network.mean[p:] = torch.from_numpy(codec.mean).float(), PRESENCE
        weights = network.linear.view(c.past, c.size, c.size)
        weights[:PAST, :p, :p] = c.leak * torch.from_numpy(codec.weights.reshape(PAST, p, p)).float()
        weights[0, p:, p:] = 0.5 * torch.eye(J)
        network.basis[:p, :r] = torch.from_numpy(np.ascontiguousarray(codec.basis[:, :r])).float()
        network.basis[p:, r:] = torch.eye(J)
        missed = torch.cat([self._missed(number) for number in range(BEGIN_BATCHES)])
        network.spread.copy_(missed.square().mean(dim=0).sqrt() + 1e-4)
        missed = missed[torch.randperm(len(missed))[:BEGIN_RESIDUALS]]
        for level in range(c.levels):
            centres, nearest = k_means(missed, c.vocabulary)
            network.codes[level] = centres / network.spread
            missed = missed - centres[nearest]
        self.kept.load_state_dict(network.state_dict())

    def _missed(self, number: int) -> Tensor:
        """Return what linear prediction from slightly wrong pasts misses, [N, K]."""
        c, network = self.config.model, self.network
        batch = self._batch([self.config.seed, 1 << 40, number])
        state, found = State.fresh(len(batch.target), c), []
        for hop in range(batch.target.shape[1]):
            box, known = batch.boxes[:, hop], batch.known[:, hop]
            prediction = network.predict(state, box)
            apart = (batch.target[:, hop] - prediction.guess) * known
            found.append(apart @ network.basis)
            noise = 0.02 * torch.randn_like(apart) * torch.rand(len(apart), 1)
            noise[:, c.coordinates :] = 0
            decoded = prediction.guess + apart + noise
            state = network.remember(state, box, prediction, decoded, torch.ones(len(apart), 1))
        return torch.cat(found)

    def _batch(self, key: list[int]) -> Batch:
        c = self.config
        w = self.sampler.draw(np.random.default_rng(key), c.data.batch)
        parts = (-1, c.data.hops)
        keypoints = torch.from_numpy(w.keypoints).unflatten(1, (c.data.hops, c.model.hop))
        target, known = (each.unflatten(0, parts) for each in self.network.hop_of(keypoints.flatten(0, 1)))
        truth = torch.from_numpy(w.truth).unflatten(1, (c.data.hops, c.model.hop))
        there = (truth > UNKNOWN_BELOW).all(dim=-1).float() * (HIDDEN + (1 - HIDDEN) * keypoints[..., -1])
        return Batch(target, known, truth.flatten(2), there.flatten(2), torch.from_numpy(w.boxes))

    def advance(self) -> dict[str, Tensor]:
        """Do one step and return the terms of its loss by name."""
        c, o = self.config, self.config.optim
        torch.manual_seed((c.seed << 32) + self.step)
        along = min(1.0, (self.step + 1) / o.rise_steps) * (0.51 + 0.49 * math.cos(math.pi * self.step / o.steps))
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * along
        terms = self._terms(self._batch([c.seed, self.step]))
        loss = (
            terms["joint"]
            + o.coarse * terms["coarse"]
            + o.unaided * terms["unaided"]
            + terms["presence"]
            + o.velocity * terms["velocity"]
            + o.forgetting * terms["forgetting"]
            + terms["scale"]
        )
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), o.clip)
        self.optimizer.step()
        self.step += 1
        weight = 1 - min(o.average, self.step / (self.step + 19))
        with torch.no_grad():
            for kept, now in zip(self.kept.parameters(), self.network.parameters(), strict=True):
                kept.lerp_(now, weight)
            for copied, buffer in zip(self.kept.buffers(), self.network.buffers(), strict=True):
                copied.copy_(buffer)
        return terms

    def _terms(self, batch: Batch) -> dict[str, Tensor]:
        """Run windows through both ends; return the mean of each term over the hops."""
        c, network = self.config.model, self.network
        count, hops = batch.target.shape[:2]
        state, other = State.fresh(count, c), State.fresh(count, c)
        fixed, free = torch.randint(1, c.levels + 1, (count,)), torch.rand(count) < UNFOLLOWED
        before: Tensor | None = None
        sums: dict[str, Tensor] = {}
        for hop in range(hops):
            box, target, known = batch.boxes[:, hop], batch.target[:, hop], batch.known[:, hop]
            both = self._predict(state, other, box)
            prediction = Prediction(*(each[:count] for each in vars(both).values()))
            with torch.no_grad():
                ids, _ = network.search(prediction, target, known)
            self._note(ids, prediction, target, known, at=hop == hops // 2)
            levels = torch.where(free, torch.randint(0, c.levels + 1, (count,)), fixed)
            fewer = (torch.rand(count) * levels).long()
            full, lost, coarse = self._decode(both, prediction, ids, levels, fewer)
            weights, truth = batch.there[:, hop], batch.truth[:, hop]
            side = box[:, -1:] / SIDE_CM
            apart = ((lost - full.detach())[:, : c.coordinates].unflatten(-1, (-1, c.dims))).square().sum(dim=-1)
            distance = (apart + 1e-8).sqrt().mean(dim=1)
            last = batch.truth[:, hop - 1] if hop else None
            terms = {
                "joint": self._joint(full, truth, weights, side),
                "coarse": self._joint(coarse, truth, weights, side),
                "unaided": self._joint(prediction.guess, truth, weights, side),
                "presence": sum(
                    ((each - target)[:, c.coordinates :].abs().mean() for each in (full, coarse)), torch.zeros(())
                ),
                "velocity": self._velocity(batch, hop, full, prediction.past[:, 0])
                if last is not None
                else torch.zeros(()),
                "forgetting": F.relu(distance - 0.5 * before).mean() if before is not None else torch.zeros(()),
                "scale": 0.003 * self._likelihood(prediction, target, known),
            }
            sums = {name: sums.get(name, torch.zeros(())) + value / hops for name, value in terms.items()}
            share = (levels / c.levels)[:, None]
            wrong = Prediction(*(each[count:] for each in vars(both).values()))
            kept = network.remember(state, box, prediction, full.detach(), share)
            other = network.remember(other, box, wrong, lost.detach(), share)
            luck = torch.rand(count)
            other = other.where(luck < RESETS, State.fresh(count, c))
            other = other.where((luck >= RESETS) & (luck < RESETS + LOSSES), state)
            state = kept
            before = self._distance(other, box, full.detach())
        return sums

    def _predict(self, state: State, other: State, box: Tensor) -> Prediction:
        """Predict for both ends at once, in half precision."""
        both = State(*(torch.cat(pair) for pair in zip(vars(state).values(), vars(other).values(), strict=True)))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.optim.bfloat16):
            return self.network.predict(both, torch.cat([box, box]))

    def _decode(
        self, both: Prediction, prediction: Prediction, ids: Tensor, levels: Tensor, fewer: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the hop as the encoder, the other reader and a reader of fewer levels decode it, [B, V] each."""
        c = self.config.model
        codes = torch.stack([table[level] for table, level in zip(self.network.codes, ids.T, strict=True)], dim=1)
        number = torch.arange(c.levels)
        some, less = ((codes * (number < count[:, None])[..., None]).sum(dim=1) for count in (levels, fewer))
        shares = [(count / c.levels)[:, None] for count in (levels, levels, fewer)]
        three = Prediction(
            *(torch.cat([a, b]) for a, b in zip(vars(both).values(), vars(prediction).values(), strict=True))
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.optim.bfloat16):
            full, lost, coarse = self.network.decode(three, torch.cat([some, some, less]), torch.cat(shares)).chunk(3)
        return full, lost, coarse

    def _joint(self, hop: Tensor, truth: Tensor, weights: Tensor, side: Tensor) -> Tensor:
        """Return the mean distance of joints, in boxes of the usual side."""
        apart = (hop[:, : truth.shape[1]] - truth).unflatten(-1, (-1, self.config.model.dims))
        return ((apart.square().sum(dim=-1) + 1e-6).sqrt() * weights * side).sum() / weights.sum()

    def _velocity(self, batch: Batch, hop: int, full: Tensor, before: Tensor) -> Tensor:
        """Return the mean error of joints' steps from frame to frame, that from the hop before among them."""
        c = self.config.model
        box, old = batch.boxes[:, hop], batch.boxes[:, hop - 1]
        frames = (c.hop, J, c.dims)
        last = batch.truth[:, hop - 1].unflatten(-1, frames)[:, -1:]
        ratio, shift = old[:, -1:] / box[:, -1:], (old[:, :-1] - box[:, :-1]) / box[:, -1:]
        last = (last - 0.5) * ratio[:, None, None] + shift[:, None, None] + 0.5
        truth = torch.cat([last, batch.truth[:, hop].unflatten(-1, frames)], dim=1)
        start = before[:, : c.coordinates].unflatten(-1, frames)[:, -1:]
        decoded = torch.cat([start, full[:, : c.coordinates].unflatten(-1, frames)], dim=1)
        there = [batch.there[:, at].unflatten(-1, frames[:2]) for at in (hop - 1, hop)]
        weights = torch.cat([there[0][:, -1:], there[1]], dim=1)
        weights = weights[:, 1:] * weights[:, :-1]
        apart = decoded.diff(dim=1) - truth.diff(dim=1)
        side = (box[:, -1] / SIDE_CM)[:, None, None]
        return ((apart.square().sum(dim=-1) + 1e-7).sqrt() * weights * side).sum() / weights.sum()

    def _likelihood(self, prediction: Prediction, target: Tensor, known: Tensor) -> Tensor:
        """Return the mean negative log likelihood of residuals under Laplace distributions of the scales."""
        missed = (((target - prediction.guess) * known) @ self.network.basis).detach()
        return (missed.abs() / prediction.scale + prediction.scale.log()).mean()

    @torch.no_grad()
    def _distance(self, state: State, box: Tensor, hop: Tensor) -> Tensor:
        """Return how far the newest hop that another reader remembers is from the right one, [B], box units."""
        c = self.config.model
        known = self.network.predict(state, box).past[:, 0]
        newest = torch.where(state.age > 0, known, self.network.mean)
        apart = (newest - hop)[:, : c.coordinates].unflatten(-1, (-1, c.dims))
        return (apart.square().sum(dim=-1) + 1e-8).sqrt().mean(dim=1)

    @torch.no_grad()
    def _note(self, ids: Tensor, prediction: Prediction, target: Tensor, known: Tensor, at: bool) -> None:
        """Count the codes in use; now and then let the unused ones become residuals of this batch."""
        self.use.scatter_add_(1, ids.T, torch.ones(ids.T.shape))
        if not at or self.step % REVIVE_EVERY != REVIVE_EVERY // 2 or self.step < 2 * REVIVE_EVERY:
            return
        codes = self.network.codes
        left = (((target - prediction.guess) * known) @ self.network.basis) / prediction.scale
        for level, counts in enumerate(self.use):
            unused = (counts <= UNUSED * counts.mean()).nonzero()[: len(left) // 2, 0]
            codes[level, unused] = left[torch.randperm(len(left))[: len(unused)]]
            left = left - codes[level][ids[:, level]]
        self.use.zero_()


BEGIN_BATCHES = 40
"""Batches of windows whose residuals the codebooks begin with."""

BEGIN_RESIDUALS = 40_000
"""Residuals of these that k-means looks at."""

ROUNDS = 6
"""Of k-means."""

UNKNOWN_BELOW = -0.99
"""Box coordinate at or below which a joint's true place is not known (`training.data.windows.UNKNOWN`)."""


def k_means(points: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return centres [count, K] of points [N, K], and the nearest centre of each, [N]."""
    centres = points[torch.randint(len(points), (count,))]
    nearest = torch.zeros(len(points), dtype=torch.long)
    for _ in range(ROUNDS):
        nearest = (centres.square().sum(dim=1) - 2 * points @ centres.T).argmin(dim=1)
        number = torch.bincount(nearest, minlength=count)[:, None]
        total = torch.zeros_like(centres).index_add_(0, nearest, points)
        centres = torch.where(number > 0, total / number.clamp(min=1), points[torch.randint(len(points), (count,))])
    return centres, (centres.square().sum(dim=1) - 2 * points @ centres.T).argmin(dim=1)


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Return what a checkpoint holds. Raises TokenizerError where it is damaged."""
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a file that is not its own
        raise TokenizerError(f"{file} is damaged ({str(error).strip().splitlines()[0]}): train again") from None
    return state


def _sampler(config: PredictiveTrainConfig) -> WindowSampler:
    from training.data.dataset import read_clips

    root = Path(config.data.root)
    return WindowSampler(
        [read_clips(root / group.path) for group in config.data.train],
        [group.share for group in config.data.train],
        config.model.dims,
        config.model.hop,
        config.data.hops,
        config.data.augment,
    )
