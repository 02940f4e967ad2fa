"""What a predictive network begins with: linear prediction, a basis for what that misses, and codebooks by k-means."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stream.motion.skeleton import J
from training.data.windows import WindowSampler
from training.evaluation.transform import PAST, batch_of, fitted, training_recordings
from training.predictive.config import PredictiveTrainConfig
from training.predictive.network import PRESENCE, PredictiveNetwork, State
from training.predictive.windows import draw

STEPS = (0.13, 0.065)
"""Steps of the transform codec whose prediction and basis are taken, the last one's."""

EVERY = 6
"""Every sixth training recording is enough to fit it."""

BATCHES = 40
"""Batches of windows that the residuals come from; their keys are beyond those of any step."""

BEYOND = 1 << 40

RESIDUALS = 40_000
"""Residuals that k-means looks at."""

ROUNDS = 6
"""Of k-means."""

WRONG = 0.02
"""Largest standard deviation of the noise on the past, box units: what is decoded is never quite right."""


@torch.no_grad()
def begin(network: PredictiveNetwork, sampler: WindowSampler, config: PredictiveTrainConfig) -> None:
    """Give a new network its first weights."""
    c = config.model
    sets = [Path(config.data.root) / group.path for group in config.data.train]
    recordings = training_recordings(sets, c.dims, c.hop, config.seed)
    (*_, codec) = fitted(batch_of(recordings[::EVERY], c.hop), STEPS)
    p, r = c.coordinates, c.rank
    network.mean[:p], network.mean[p:] = torch.from_numpy(codec.mean).float(), PRESENCE
    weights = network.linear.view(c.past, c.size, c.size)
    weights[:PAST, :p, :p] = c.leak * torch.from_numpy(codec.weights.reshape(PAST, p, p)).float()
    weights[0, p:, p:] = 0.5 * torch.eye(J)
    network.basis[:p, :r] = torch.from_numpy(np.ascontiguousarray(codec.basis[:, :r])).float()
    network.basis[p:, r:] = torch.eye(J)
    missed = torch.cat([_missed(network, sampler, config, number) for number in range(BATCHES)])
    network.spread.copy_(missed.square().mean(dim=0).sqrt() + 1e-4)
    missed = missed[torch.randperm(len(missed))[:RESIDUALS]]
    for level in range(c.levels):
        centres, nearest = k_means(missed, c.vocabulary)
        network.codes[level] = centres / network.spread
        missed = missed - centres[nearest]


def _missed(network: PredictiveNetwork, sampler: WindowSampler, config: PredictiveTrainConfig, number: int) -> Tensor:
    """Return what linear prediction from slightly wrong pasts misses, [N, K]."""
    c = config.model
    batch = draw(sampler, config, [config.seed, BEYOND, number])
    count, hops = batch.target.shape[:2]
    state, found = State.fresh(count, c), []
    for hop in range(hops):
        box = batch.boxes[:, hop]
        prediction = network.predict(state, box)
        apart = (batch.target[:, hop] - prediction.guess) * batch.known[:, hop]
        found.append(apart @ network.basis)
        noise = WRONG * torch.randn_like(apart) * torch.rand(count, 1)
        noise[:, c.coordinates :] = 0
        state = network.remember(state, box, prediction, prediction.guess + apart + noise, torch.ones(count, 1))
    return torch.cat(found)


def k_means(points: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return centres [count, K] of points [N, K], and the nearest centre of each, [N]."""
    centres = points[torch.randint(len(points), (count,))]
    for _ in range(ROUNDS):
        nearest = _nearest(points, centres)
        number = torch.bincount(nearest, minlength=count)[:, None]
        total = torch.zeros_like(centres).index_add_(0, nearest, points)
        centres = torch.where(number > 0, total / number.clamp(min=1), points[torch.randint(len(points), (count,))])
    return centres, _nearest(points, centres)


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    return (centres.square().sum(dim=1) - 2 * points @ centres.T).argmin(dim=1)
