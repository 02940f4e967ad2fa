"""What a predictive network begins with: linear prediction, a basis of what guesses miss, and codebooks by k-means."""

from pathlib import Path

import torch
from torch import Tensor

from stream.motion.skeleton import J
from training.data.windows import WindowSampler
from training.evaluation.transform import PAST, batch_of, fitted, training_recordings
from training.predictive.config import PredictiveTrainConfig
from training.predictive.network import PRESENCE, SHARE, PredictiveNetwork, State
from training.predictive.windows import draw

STEPS = (0.13, 0.065)
"""Steps of the transform codec whose prediction is taken, the last one's."""

EVERY = 6
"""Every sixth training recording is enough to fit it."""

BATCHES = 40
"""Batches of windows that the residuals come from; their keys are beyond those of any step."""

BEYOND = 1 << 40

RESIDUALS = 40_000
"""Residuals that k-means looks at."""

TURNS = 3
"""Of anchors and what is heard with them."""

RIDGE = 1e-4
"""Of the linear anchor."""

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
    p = c.coordinates
    network.mean[:p], network.mean[p:] = torch.from_numpy(codec.mean).float(), PRESENCE
    weights = network.linear.view(c.size, c.past, c.size)
    fitted_weights = torch.from_numpy(codec.weights.reshape(PAST, p, p)).float()
    weights[:p, :PAST, :p] = fitted_weights.permute(2, 0, 1)
    weights[p:, 0, p:] = torch.eye(J)
    fill_codebooks(network, sampler, config)


@torch.no_grad()
def fill_codebooks(network: PredictiveNetwork, sampler: WindowSampler, config: PredictiveTrainConfig) -> None:
    """Take basis, spread, linear anchor and codes from what guesses miss.

    Each hangs on the others: they are found in turn, from the mean body as the anchor on.
    """
    c = config.model
    network.hear.weight.zero_()
    network.hear.bias.zero_()
    _take_basis(network, _rolled(network, sampler, config)[0])
    for _ in range(TURNS):
        _, heard, wanted = _rolled(network, sampler, config)
        square = heard.T @ heard + RIDGE * len(heard) * torch.eye(heard.shape[1])
        weights = torch.linalg.solve(square, heard.T @ (wanted - network.mean)) / SHARE
        network.hear.weight.copy_(weights[:-1].T)
        network.hear.bias.copy_(weights[-1])
    missed, *_ = _rolled(network, sampler, config)
    missed = (missed @ network.basis)[torch.randperm(len(missed))[:RESIDUALS]]
    for level in range(c.levels):
        centres, nearest = k_means(missed, c.vocabulary)
        network.codes[level] = centres / network.spread
        missed = missed - centres[nearest]


def _take_basis(network: PredictiveNetwork, missed: Tensor) -> None:
    """Take the basis and the spread along it of residuals [N, V]."""
    p, r = network.config.coordinates, network.config.rank
    network.basis.zero_()
    network.basis[:p, :r] = torch.linalg.eigh(missed[:, :p].T @ missed[:, :p]).eigenvectors.flip(1)[:, :r]
    network.basis[p:, r:] = torch.eye(J)
    network.spread.copy_((missed @ network.basis).square().mean(dim=0).sqrt() + 1e-4)


def _rolled(
    network: PredictiveNetwork, sampler: WindowSampler, config: PredictiveTrainConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Return, of hops whose pasts were slightly wrong, what the guess misses and what was wanted, [N, V], and in
    between what an anchor hears, [N, H + 1], ones at its end."""
    c = config.model
    missed, heard, wanted = [], [], []
    for number in range(BATCHES):
        batch = draw(sampler, config, [config.seed, BEYOND, number])
        count, hops = batch.target.shape[:2]
        state, ones = State.fresh(count, c), torch.ones(count, 1)
        for hop in range(hops):
            box, known = batch.boxes[:, hop], batch.known[:, hop]
            prediction = network.predict(state, box)
            right = network.wanted(prediction, batch.target[:, hop], known)
            missed.append(right - prediction.guess)
            wanted.append(right)
            heard.append(torch.cat([prediction.heard, ones], dim=1))
            noise = WRONG * torch.randn_like(right) * torch.rand(count, 1)
            noise[:, c.coordinates :] = 0
            residual = network.residual(prediction, right + noise, known)
            state = network.remember(state, box, prediction, residual, right + noise, ones)
    return torch.cat(missed), torch.cat(heard), torch.cat(wanted)


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
