"""Trains a prior on what a predictive tokenizer makes of the recordings it was trained on."""

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from training.predictive.config import PredictiveTrainConfig
from training.predictive.network import PredictiveNetwork, State
from training.predictive.recorded import Recorded
from training.predictive.windows import Batch, BatchLoader, open_sampler
from training.priors.config import PriorConfig
from training.priors.network import Heard, PriorNetwork
from training.run.distributed import choose_device

FEWER = 0.25
"""Share of windows that are coded with fewer levels than there are, so that every rate is known."""

COUNTED = 20
"""Batches from which the frequencies of the ids are taken, before the first step."""

KEY = 1 << 41
"""Of the batches' keys, beyond those of a tokenizer's training."""


class PriorRun:
    """The training of a prior of a tokenizer's network."""

    def __init__(self, network: PredictiveNetwork, config: PriorConfig) -> None:
        c = self.config = config
        torch.manual_seed(c.seed)
        self.device = choose_device(c.device)
        self.tokenizer = network.eval().requires_grad_(False).to(self.device)
        self.prior = PriorNetwork(network.config, c).to(self.device)
        self.prior.take(self.tokenizer)
        self.kept = copy.deepcopy(self.prior).eval().requires_grad_(False)
        drawn = PredictiveTrainConfig(seed=c.seed + KEY, model=network.config, data=c.data)
        drawn.optim.steps = max(c.steps, COUNTED)
        self._loader = BatchLoader(open_sampler(drawn), drawn)
        self._optimizer = torch.optim.AdamW(
            self.prior.parameters(), lr=c.rate, betas=(0.9, 0.98), weight_decay=c.weight_decay
        )
        self._learned = Recorded(self._learn, self.device, self.prior.parameters())

    def run(self) -> Iterator[tuple[int, Tensor]]:
        """Train to the last step, yielding after each its number and bits an id of each level, [L]."""
        c = self.config
        self._count()
        step = 0
        while step < c.steps:
            torch.manual_seed((c.seed << 32) + step)
            along = min(1.0, (step + 1) / c.rise_steps) * (0.505 + 0.495 * math.cos(math.pi * step / c.steps))
            for group in self._optimizer.param_groups:
                group["lr"] = c.rate * along
            batch = self._loader.take(step)
            self._optimizer.zero_grad(set_to_none=False)
            bits = self._learned(batch)
            torch.nn.utils.clip_grad_norm_(self.prior.parameters(), c.clip)
            self._optimizer.step()
            step += 1
            weight = 1 - min(c.average, step / (step + 19))
            with torch.no_grad():
                torch._foreach_lerp_([*self.kept.parameters()], [*self.prior.parameters()], weight)
            yield step, bits
        self._loader.close()

    @torch.no_grad()
    def _count(self) -> None:
        """Begin with the frequencies of the ids."""
        counts = torch.ones_like(self.prior.bias)
        for step in range(COUNTED):
            for heard in self._hops(self._loader.take(step).to(self.device)):
                ids = heard.ids.clamp(min=0).T
                counts.scatter_add_(1, ids, (heard.ids.T >= 0).to(counts.dtype))
        self.prior.bias.copy_((counts / counts.sum(dim=1, keepdim=True)).log())
        self.kept.bias.copy_(self.prior.bias)

    def _hops(self, batch: Batch) -> Iterator[Heard]:
        """Encode windows, some with fewer levels, and yield them hop by hop."""
        c, device = self.tokenizer.config, self.device
        count, hops = batch.target.shape[:2]
        state = State.fresh(count, c, device)
        some = torch.randint(1, c.levels + 1, (count,), device=device)
        levels = torch.where(torch.rand(count, device=device) < FEWER, some, c.levels).float()
        for hop in range(hops):
            box = batch.boxes[:, hop]
            prediction = self.tokenizer.predict(state, box)
            paths, sums = self.tokenizer.search(prediction, batch.target[:, hop], batch.known[:, hop])
            row = (levels.long() - 1)[:, None, None]
            total = sums.gather(1, row.expand(-1, 1, sums.shape[2]))[:, 0]
            ids = paths.gather(1, row.expand(-1, 1, paths.shape[2]))[:, 0]
            ids = torch.where(torch.arange(c.levels, device=device) < levels[:, None], ids, -1)
            share = (levels / c.levels)[:, None]
            decoded = self.tokenizer.decode(prediction, total, share)
            state = self.tokenizer.remember(state, box, prediction, total, decoded, share)
            joints, _ = self.tokenizer.joints_of(decoded)
            yield Heard(ids, joints, box)

    def _learn(self, batch: Batch) -> Tensor:
        """Add to the gradients; return bits an id of each level, [L]."""
        c, count = self.tokenizer.config, len(batch.boxes)
        with torch.no_grad():
            hops = list(self._hops(batch))
        first = hops[0]
        heard = Heard(torch.full_like(first.ids, -1), torch.zeros_like(first.joints), torch.zeros_like(first.box))
        memory = torch.zeros(count, self.prior.hidden, device=self.device)
        memories = []
        for now in hops:
            memory = self.prior.begin_hop(heard, now.box, memory)
            memories.append(memory)
            heard = now
        ids = torch.cat([now.ids for now in hops])
        logits = self.prior.levels(torch.cat(memories), ids)
        there = (ids >= 0).float()
        losses = F.cross_entropy(logits.flatten(0, 1), ids.clamp(min=0).flatten(), reduction="none").view_as(there)
        (((losses * there).sum() / count / len(hops)) / c.levels).backward()
        return (losses * there).detach().sum(dim=0) / there.sum(dim=0).clamp(min=1) / math.log(2)
