"""A tokenizer that codes only what a reader cannot predict from what it has already decoded.

Encoder and decoder share the decoder's past: the last hops as they were decoded, moved into this hop's box. From these
a network forecasts the hop. What the forecast misses is coded in residual levels, coarse to fine, each an id of a
codebook of combinations of learned directions:

    anchor  = what the last ECHO hops' codes alone say of where the body is
    guess   = anchor + LEAK * (forecast - anchor)
    decoded = guess + basis @ (spread * (code_1 + ... + code_n)) + refinement

Any first n levels decode. A hop without ids is decoded as the forecast. The encoder searches for the ids with the
decoder at hand, so all that is trained is the decoder. It follows the `BEAM` best choices from level to level (beam
search, as in additive quantization, Babenko and Lempitsky 2014): 6 to 8 % less error than the nearest code of each
level in turn, at no bits.

What two ends disagree on fades by construction, so a stream forgets what was lost: a guess keeps only LEAK of the
forecast's difference to the anchor, the anchor hangs on nothing older than ECHO hops, and nothing else that is decoded
hangs on the past. The forecast learns from its own error alone: the codec could otherwise teach it to undo the leak.

Prediction in the loop is differential pulse-code modulation, its leak that of leaky prediction; residual vector
quantization is that of SoundStream, arXiv 2107.03312.

A hop is a vector of V = hop * 17 * D + 17 numbers: coordinates in the hop's box, then for each joint the share of the
frames in which it was seen, times `PRESENCE`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stream.motion.skeleton import J
from training.predictive.config import ECHO, PredictiveConfig

PRESENCE = 0.1
"""Weight of a joint's presence beside coordinates: to miss that it is hidden counts as much as a tenth of the box."""

GAIN = 8.0
"""Of what enters the network: differences to the mean body, in box units, are small."""

SHARE = 0.1
"""Of what leaves the network, in box units: a whole unit is the whole box."""

LEAK = 0.3
"""Of a forecast's difference to the anchor, what a guess keeps, and so what two ends keep of theirs: a forecast passes
on about as much as it gets, or a little more, so distances fall by half with each hop."""

BEAM = 8
"""Choices that the search follows: 16 win another 2 % and cost twice the time."""

FAR = 2.0
"""Box units beyond which the past and the box's own path are cut: no ids can drive a decoder out of bounds."""


@dataclass
class State:
    """What both ends remember of B streams.

    past: [B, past, V], decoded hops, newest first, in the coordinates of `box`; box: [B, D + 1], of the newest;
    missing: [B, 1], hops of the past that there never were, as the stream has just begun; idle: [B, 1], hops in a row
    without an id; sums: [B, ECHO, K], of the last hops' codes, newest first; share: [B, ECHO], of the levels that these
    hops had. All zeros is the state of a reader that knows nothing of a stream that has long begun: it takes the mean
    body for the past.
    """

    past: Tensor
    box: Tensor
    missing: Tensor
    idle: Tensor
    sums: Tensor
    share: Tensor

    @staticmethod
    def unknown(batch: int, config: PredictiveConfig, device: torch.device | None = None) -> "State":
        """Return the state of readers that know nothing."""
        return State(**{name: torch.zeros(batch, *size, device=device) for name, size in config.states.items()})

    @staticmethod
    def fresh(batch: int, config: PredictiveConfig, device: torch.device | None = None) -> "State":
        """Return the state before the first hop of a stream."""
        return State.unknown(batch, config, device).reset(torch.ones(batch, device=device))

    def reset(self, where: Tensor) -> "State":
        """Return the state with these streams, [B] of 0 or 1, before their first hop."""
        kept = State(*(each * (1 - where).view(-1, *[1] * (each.dim() - 1)) for each in vars(self).values()))
        kept.missing = kept.missing + self.past.shape[1] * where[:, None]
        return kept

    def first(self, count: int) -> "State":
        """Return the state of the first streams."""
        return State(*(each[:count] for each in vars(self).values()))


@dataclass
class Prediction:
    """Of the next hop of B streams.

    past: [B, past, V], in the coordinates of the hop's box; forecast: [B, V], what the hop will probably be; anchor:
    [B, V], the same by the last codes alone; guess: [B, V], between the two;
    heard: [B, ECHO * (K + 1) + D + 1], what the anchor is made from.
    """

    past: Tensor
    forecast: Tensor
    anchor: Tensor
    guess: Tensor
    heard: Tensor

    def with_axis(self, count: int) -> "Prediction":
        """Return it `count` times along an axis after the batch, to decode several sums of codes at once."""
        return Prediction(*(each[:, None].expand(-1, count, *each.shape[1:]) for each in vars(self).values()))


class Residual(nn.Module):
    """A residual layer: x + f(norm(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width] -> [B, width]."""
        return x + self.outer(F.gelu(self.inner(self.norm(x))))


class PredictiveNetwork(nn.Module):
    """Predictor, codebooks and refinement; see the head of the file."""

    mean: Tensor
    spread: Tensor

    def __init__(self, config: PredictiveConfig) -> None:
        super().__init__()
        c = self.config = config
        self.register_buffer("mean", torch.zeros(c.size))
        self.register_buffer("spread", torch.ones(c.directions))
        self.linear = nn.Parameter(torch.zeros(c.size, c.past * c.size))
        self.basis = nn.Parameter(torch.zeros(c.size, c.directions))
        self.codes = nn.Parameter(torch.zeros(c.levels, c.vocabulary, c.directions))
        self.enter = nn.Linear(c.past * c.size + c.past + c.dims + 1 + ECHO, c.width)
        self.layers = nn.Sequential(*[Residual(c.width) for _ in range(c.depth)], nn.LayerNorm(c.width))
        self.leave = nn.Linear(c.width, c.size)
        heard = ECHO * (c.directions + 1) + c.dims + 1
        self.hear = nn.Linear(heard, c.size)
        self.hear_in = nn.Linear(heard, c.refine)
        self.hear_out = nn.Linear(c.refine, c.size)
        self.refine_in = nn.Linear(c.size + c.directions + 1, c.refine)
        self.refine_out = nn.Linear(c.refine, c.size)
        for last in (
            self.leave,
            self.hear,
            self.hear_out,
            self.refine_out,
        ):  # it starts as linear prediction and plain sums of codes
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def predict(self, state: State, box: Tensor) -> Prediction:
        """Predict the next hop, which has the box [B, D + 1]."""
        c = self.config
        known = state.box[:, -1:] > 0
        old = torch.where(known, state.box, box)
        side = box[:, -1:].clamp(min=1e-6)  # no box has none; an empty step that warms an engine up does
        ratio = old[:, -1:] / side
        shift = (old[:, :-1] - box[:, :-1]) / side
        places, presence = state.past[..., : c.coordinates], state.past[..., c.coordinates :]
        places = (places.unflatten(-1, (-1, c.dims)) - 0.5) * ratio[:, None, None] + shift[:, None, None] + 0.5
        past = torch.cat([places.flatten(2), presence], dim=-1)
        past = torch.where(known[..., None], past, self.mean)
        valid = (torch.arange(c.past, device=box.device) < c.past - state.missing).to(box.dtype)
        apart = ((past - self.mean) * valid[..., None]).flatten(1).clamp(-FAR, FAR)
        path = torch.cat([shift, ratio.log()], dim=-1).clamp(-FAR, FAR)
        hidden = self.layers(self.enter(torch.cat([GAIN * apart, valid, path, state.share], dim=-1)))
        forecast = self.mean + F.linear(apart, self.linear) + SHARE * self.leave(hidden).float()
        heard = torch.cat([state.sums.flatten(1), state.share, path], dim=-1)
        anchor = self.anchor(heard)
        guess = anchor + LEAK * (forecast.detach() - anchor)
        return Prediction(past, forecast, anchor, guess, heard)

    def anchor(self, heard: Tensor) -> Tensor:
        """Return where the body is, [B, V], by what was heard of the last hops, as in a `Prediction`."""
        return self.mean + SHARE * (self.hear(heard) + self.hear_out(F.gelu(self.hear_in(heard)))).float()

    def wanted(self, prediction: Prediction, target: Tensor, known: Tensor) -> Tensor:
        """Return what a hop should be decoded as, [B, V].

        target: [B, V]; known: [B, V], 0 where there is nothing to code: there the forecast is what is wanted.
        """
        return torch.where(known > 0, target, prediction.forecast.detach())

    def residual(self, prediction: Prediction, target: Tensor, known: Tensor) -> Tensor:
        """Return what a guess misses along each direction of the basis, in units of the spread, [B, K]."""
        return (self.wanted(prediction, target, known) - prediction.guess) @ self.basis / self.spread

    def search(self, prediction: Prediction, target: Tensor, known: Tensor, beam: int = BEAM) -> tuple[Tensor, Tensor]:
        """Find the ids of a hop for each number of levels.

        Returns paths [B, L, L], of which row n holds the n + 1 ids of the best choice of n + 1 levels and then zeros,
        and the sums of their codes, [B, L, K].
        """
        # The basis is all but orthonormal, so distances along it, weighted by the spread, are distances of joints.
        wanted = self.residual(prediction, target, known)[:, None]
        weight, levels = self.spread.square(), len(self.codes)
        totals = torch.zeros_like(wanted)
        ids = wanted[..., :0]  # as numbers with a point, for `_rows`
        costs = torch.zeros_like(wanted[..., :1])
        paths, sums = [], []
        for level, codes in enumerate(self.codes):
            # Less what all choices have in common, the square of what is wanted. A code goes on from one choice alone,
            # the best: to find the smallest of 1024 numbers is much faster than of 1024 for each choice.
            cost = costs + codes.square() @ weight - 2 * (weight * (wanted - totals)) @ codes.T
            best, code = cost.amin(dim=1).topk(min(beam, len(codes)), dim=1, largest=False)
            parent = cost.gather(2, code[:, None].expand(-1, cost.shape[1], -1)).argmin(dim=1)
            totals = _rows(totals, parent) + codes[code]
            ids = torch.cat([_rows(ids, parent), code[..., None].to(ids.dtype)], dim=-1)
            costs = best[..., None]
            paths.append(F.pad(ids[:, 0], (0, levels - 1 - level)))
            sums.append(totals[:, 0])
        return torch.stack(paths, dim=1).long(), torch.stack(sums, dim=1)

    def sum_of(self, ids: Tensor) -> Tensor:
        """Return the sum of the codes [B, K] of ids [B, L], -1 for levels that are not there."""
        level = ids.clamp(min=0).T[..., None].expand(-1, -1, self.codes.shape[2])
        return (self.codes.gather(1, level) * (ids.T >= 0)[..., None]).sum(dim=0)

    def decode(self, prediction: Prediction, total: Tensor, share: Tensor) -> Tensor:
        """Return hops [..., V] from their codes' sums [..., K] and the share [..., 1] of the levels that are there."""
        coded = self.spread * total
        # One matrix in two parts: what does not hang on the codes is computed once for all sums of a hop.
        weight, size = self.refine_in.weight, self.config.size
        hidden = F.linear(GAIN * (prediction.guess - self.mean), weight[:, :size], self.refine_in.bias)
        hidden = hidden + F.linear(torch.cat([GAIN * coded, share], dim=-1), weight[:, size:])
        hop = prediction.guess + coded @ self.basis.T + SHARE * self.refine_out(F.gelu(hidden)).float()
        return torch.where(share > 0, hop, prediction.forecast)

    def remember(
        self, state: State, box: Tensor, prediction: Prediction, total: Tensor, hop: Tensor, share: Tensor
    ) -> State:
        """Return the state after a hop [B, V] of these sums of codes [B, K] and this share [B, 1] of the levels."""
        past = torch.cat([hop[:, None], prediction.past[:, :-1]], dim=1)
        idle = torch.where(share > 0, 0.0, state.idle + 1)
        sums = torch.cat([total[:, None], state.sums[:, :-1]], dim=1)
        shares = torch.cat([share, state.share[:, :-1]], dim=1)
        return State(past, box, (state.missing - 1).clamp(min=0), idle, sums, shares)

    @staticmethod
    def hop_of(keypoints: Tensor) -> tuple[Tensor, Tensor]:
        """Return hops as vectors [B, V] and what of them is known, [B, V] of 0 or 1.

        keypoints: [B, hop, 17, D + 1], box coordinates and presence.
        """
        places, present = keypoints[..., :-1], keypoints[..., -1:]
        seen = present.squeeze(-1).mean(dim=1)
        known = torch.cat([present.expand_as(places).flatten(1), torch.ones_like(seen)], dim=-1)
        return torch.cat([places.flatten(1), PRESENCE * seen], dim=-1), known

    def joints_of(self, hop: Tensor) -> tuple[Tensor, Tensor]:
        """Return joints [B, hop, 17, D], box coordinates, and confidence [B, hop, 17] of hops [B, V]."""
        c = self.config
        seen = (hop[:, c.coordinates :] / PRESENCE).clamp(0, 1)
        joints = hop[:, : c.coordinates].unflatten(-1, (c.hop, J, c.dims))
        return joints.clamp(0.5 - FAR, 0.5 + FAR), seen[:, None].expand(-1, c.hop, -1)

    def encode_step(
        self, keypoints: Tensor, box: Tensor, levels: Tensor, tolerance: Tensor, state: State
    ) -> tuple[Tensor, Tensor, State]:
        """Encode one hop of B streams.

        keypoints: [B, hop, 17, D + 1]; box: [B, D + 1]; levels: [B], ids to use at most; tolerance: [B], box units:
        stop at the first level where the mean joint error is no larger; 0: never. A hop may then have no id, but not
        one of more than `config.rest` hops in a row: readers that know nothing learn from ids.
        Returns ids [B, L], -1 for levels not used, the joints that the decoder will give, and the new state.
        """
        c = self.config
        target, known = self.hop_of(keypoints)
        prediction = self.predict(state, box)
        paths, sums = self.search(prediction, target, known)
        sums = torch.cat([torch.zeros_like(sums[:, :1]), sums], dim=1)
        number = torch.arange(c.levels + 1, dtype=box.dtype, device=box.device)
        share = (number / c.levels)[None, :, None].expand(box.shape[0], -1, -1)
        hops = self.decode(prediction.with_axis(c.levels + 1), sums, share)
        good = (self.errors(hops, target[:, None], known[:, None]) <= tolerance[:, None]).to(box.dtype)
        enough = (good.cumsum(dim=1) == 0).to(box.dtype).sum(dim=1)
        enough = torch.maximum(enough, (state.idle[:, 0] >= c.rest).to(box.dtype))
        used = torch.minimum(torch.where(tolerance > 0, enough, float(c.levels)), levels)[:, None]
        taken = (number == used.clamp(0, c.levels)).to(box.dtype)[..., None]
        hop, total = (hops * taken).sum(dim=1), (sums * taken).sum(dim=1)
        ids = (paths * taken[:, 1:].to(paths.dtype)).sum(dim=1)
        ids = torch.where(number[:-1] < used, ids, -1)
        new = self.remember(state, box, prediction, total, hop, used / c.levels)
        return ids, self.joints_of(hop)[0], new

    def decode_step(self, ids: Tensor, box: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """Decode one hop of B streams. ids: [B, L], -1 for levels that are not there; box: [B, D + 1].

        Returns joints [B, hop, 17, D], box coordinates, confidence [B, hop, 17], and the new state.
        """
        c = self.config
        prediction = self.predict(state, box)
        total = self.sum_of(ids)
        share = (ids >= 0).to(box.dtype).sum(dim=1, keepdim=True) / c.levels
        hop = self.decode(prediction, total, share)
        joints, confidence = self.joints_of(hop)
        return joints, confidence, self.remember(state, box, prediction, total, hop, share)

    def errors(self, hops: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """Return the mean error [...] of hops [..., V], box units: of known joints' places and of all presences."""
        c = self.config
        apart = (hops - target)[..., : c.coordinates].unflatten(-1, (-1, c.dims))
        seen = known[..., : c.coordinates : c.dims]
        places = ((apart.square().sum(dim=-1) + 1e-12).sqrt() * seen).sum(dim=-1) / seen.sum(dim=-1).clamp(min=1)
        return places + (hops - target)[..., c.coordinates :].abs().mean(dim=-1)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Return rows [B, W, K] of x, [B, N, K], by their numbers, [B, W].

    As a product with ones and zeros, which is exact: a gather over a free batch takes operators that a graph from
    elsewhere may not have (`engine.graph_check`).
    """
    chosen = index[..., None] == torch.arange(x.shape[1], device=x.device)
    return chosen.to(x.dtype) @ x
