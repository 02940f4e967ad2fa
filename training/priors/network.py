"""A prior over the ids of a predictive tokenizer: how probable each id is, given all that was decoded before it.

From hop to hop a gated recurrent unit remembers; within a hop each level knows the sum of the codes before it. An id's
logit is a quadratic form of its code, so that ids of near codes share what is learned of one:

    logit(id) = a . code(id) + b . code(id)^2 + bias(level, id)

with a and b from the layers. With b below zero that is a Gaussian over the codes' places.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.predictive.config import PredictiveConfig
from training.predictive.network import FAR, GAIN, PredictiveNetwork, Residual
from training.priors.config import PriorConfig

FRAMES = 3
"""Frames of the last hop that a prior sees: its first, middle and last."""

SCALED = 0.1
"""Of the codes' squares: they are as large as the codes then."""


@dataclass
class Heard:
    """What the ends know when a hop begins, of B streams.

    ids: [B, L] of the hop before, -1 for levels that it had not; joints: [B, hop, 17, D] as they were decoded, in
    `box`; box: [B, D + 1]; all of them zeros where there was none, box included.
    """

    ids: Tensor
    joints: Tensor
    box: Tensor


class PriorNetwork(nn.Module):
    """See the head of the file. Codes and levels are the tokenizer's, and are not trained."""

    codes: Tensor

    def __init__(self, tokenizer: PredictiveConfig, sizes: PriorConfig) -> None:
        super().__init__()
        c, s = tokenizer, sizes
        self.tokenizer = c
        self.hidden = s.hidden
        k = c.directions
        self.register_buffer("codes", torch.zeros(c.levels, c.vocabulary, k))
        self.enter = nn.Linear(k + 2 + FRAMES * 17 * c.dims + c.dims + 1, s.hidden)
        self.memory = nn.GRUCell(s.hidden, s.hidden)
        self.level_of = nn.Embedding(c.levels, s.width)
        self.context = nn.Linear(s.hidden, s.width)
        self.before = nn.Linear(k, s.width, bias=False)
        self.layers = nn.Sequential(*[Residual(s.width) for _ in range(s.depth)], nn.LayerNorm(s.width))
        self.leave = nn.Linear(s.width, 2 * k)
        self.bias = nn.Parameter(torch.zeros(c.levels, c.vocabulary))
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def take(self, network: PredictiveNetwork) -> None:
        """Take the codes of a tokenizer."""
        self.codes.copy_(network.codes)

    def sum_of(self, ids: Tensor) -> Tensor:
        """Return the sums of the codes, [B, K], of ids [B, L], -1 for levels that are not there."""
        return self._codes_of(ids).sum(dim=1)

    def _codes_of(self, ids: Tensor) -> Tensor:
        """Return codes [B, L, K] of ids [B, L], zeros for -1."""
        level = ids.clamp(min=0).T[..., None].expand(-1, -1, self.codes.shape[2])
        return (self.codes.gather(1, level) * (ids.T >= 0)[..., None]).transpose(0, 1)

    def features(self, heard: Heard, box: Tensor) -> Tensor:
        """Return what enters the memory, [B, F], when a hop of this box, [B, D + 1], begins."""
        c = self.tokenizer
        begun = (heard.box[:, -1:] > 0).to(box.dtype)
        old = torch.where(begun > 0, heard.box, box)
        side = box[:, -1:].clamp(min=1e-6)
        path = torch.cat([(old[:, :-1] - box[:, :-1]) / side, (old[:, -1:].clamp(min=1e-6) / side).log()], dim=1)
        share = (heard.ids >= 0).to(box.dtype).sum(dim=1, keepdim=True) / c.levels
        seen = heard.joints[:, :: max(1, (c.hop - 1) // (FRAMES - 1))][:, :FRAMES]
        places = begun * (seen - 0.5).flatten(1).clamp(-FAR, FAR)
        return torch.cat([self.sum_of(heard.ids), share, begun, places * 2, GAIN * path.clamp(-FAR, FAR)], dim=1)

    def begin_hop(self, heard: Heard, box: Tensor, state: Tensor) -> Tensor:
        """Return the memory, [B, hidden], when a hop begins. state: the memory before; zeros at first."""
        memory: Tensor = self.memory(F.gelu(self.enter(self.features(heard, box))), state)
        return memory

    def quadratic(self, memory: Tensor, before: Tensor, level: Tensor) -> Tensor:
        """Return the coefficients of a level's quadratic form, [..., 2 K].

        memory: [..., hidden]; before: [..., K], the sum of the codes of the levels before; level: [...], its number.
        """
        hidden: Tensor = self.leave(self.layers(self.context(memory) + self.before(before) + self.level_of(level)))
        return hidden

    def level(self, memory: Tensor, ids: Tensor, level: Tensor) -> Tensor:
        """Return the logits of one level of a hop, [B, vocabulary].

        memory: [B, hidden]; ids: [B, L], of the levels before, -1 from this level on; level: [B], the same for all.
        """
        form = self.quadratic(memory, self.sum_of(ids), level)
        codes, bias = self.codes[level[0]], self.bias[level[0]]
        return form @ torch.cat([codes, SCALED * codes.square()], dim=1).T + bias

    def levels(self, memory: Tensor, ids: Tensor) -> Tensor:
        """Return the logits of all levels of hops whose ids are known, [B, L, vocabulary]."""
        c = self.tokenizer
        codes = self._codes_of(ids)
        before = codes.cumsum(dim=1) - codes
        number = torch.arange(c.levels, device=ids.device).expand(ids.shape)
        form = self.quadratic(memory[:, None], before, number)
        table = torch.cat([self.codes, SCALED * self.codes.square()], dim=2)
        return torch.einsum("blk,lvk->blv", form, table) + self.bias
