"""A prior as a folder: two graphs, their weights once, and what it belongs to."""

import shutil
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from engine.prior import Prior, PriorSpec, open_prior
from engine.spec import TokenizerSpec, sha256
from training.exporting.graphs import write_graph
from training.exporting.weights import Form, round_network, share_weights
from training.priors.network import Heard, PriorNetwork

TOLERANCE = 1e-3
"""Largest difference between the logits of the network and of the exported graphs."""


class HopGraph(nn.Module):
    """What a prior does when a hop begins."""

    def __init__(self, network: PriorNetwork) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(
        self, tokens: Tensor, joints: Tensor, before: Tensor, box: Tensor, reset: Tensor, *past: Tensor
    ) -> Tensor:
        """Ids [B, L] of the hop before, its joints and box, this hop's box, reset [B], the memory -> memory."""
        going = 1 - reset[:, None]
        ids = torch.where(going > 0, tokens.to(torch.int64), -1)
        return self.network.begin_hop(Heard(ids, joints, before * going), box, past[0] * going)


class LevelGraph(nn.Module):
    """How probable each id of a level is."""

    def __init__(self, network: PriorNetwork) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, memory: Tensor, tokens: Tensor, level: Tensor) -> Tensor:
        """memory [B, hidden], ids [B, L], -1 from this level on, level [B] -> logits [B, vocabulary]."""
        return self.network.level(memory, tokens.to(torch.int64), level.to(torch.int64))


def form_of(name: str, tensor: Tensor) -> Form:
    """Return how a tensor is stored: matrices and codes as bytes."""
    return "bytes" if tensor.dim() >= 2 and tensor.numel() >= 4096 and name != "bias" else "plain"


def export_prior(network: PriorNetwork, tokenizer: TokenizerSpec, out: Path) -> Prior:
    """Write a prior of a tokenizer's ids; checked, then put in place. Rounds the network's parameters."""
    network.eval().requires_grad_(False)
    round_network(network, form_of)
    ids, level, heard, box = _example(network)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        folder = Path(scratch)
        graphs, weights = [folder / "hop.onnx", folder / "level.onnx"], folder / "model.safetensors"
        feeds = {"tokens": heard.ids.int(), "joints": heard.joints, "before": heard.box, "box": box}
        write_graph(HopGraph(network), graphs[0], feeds, [], {"memory": (network.hidden,)})
        memory = torch.zeros(len(ids), network.hidden)
        write_graph(
            LevelGraph(network), graphs[1], {"memory": memory, "tokens": ids.int(), "level": level}, ["logits"], None
        )
        tensors = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
        share_weights(graphs, weights, tensors, form_of)
        spec = PriorSpec(tokenizer=tokenizer.label, hidden=network.hidden, weights_hash=sha256(weights))
        (folder / "config.json").write_bytes(msgspec.json.format(msgspec.json.encode(spec), indent=2) + b"\n")
        check(network, open_prior(folder))
        out.mkdir(exist_ok=True)
        for file in folder.iterdir():
            shutil.move(file, out / file.name)
    return open_prior(out)


def _example(network: PriorNetwork) -> tuple[Tensor, Tensor, Heard, Tensor]:
    """Return ids of the first levels of two hops, the level after them, a hop before, and a box."""
    c, rng = network.tokenizer, np.random.default_rng(0)
    ids = torch.from_numpy(rng.integers(0, c.vocabulary, (2, c.levels)))
    joints = torch.from_numpy(rng.normal(0.5, 0.1, (2, c.hop, 17, c.dims)).astype(np.float32))
    box = torch.full((2, c.dims + 1), 200.0)
    level = torch.full((2,), c.levels // 2, dtype=torch.int32)
    return torch.where(torch.arange(c.levels) < level[:, None], ids, -1), level, Heard(ids, joints, box), box + 1


def check(network: PriorNetwork, prior: Prior) -> None:
    """Compare network and graphs over a hop; raise ValueError where they differ."""
    ids, level, heard, box = _example(network)
    memory = network.begin_hop(heard, box, torch.zeros(len(ids), network.hidden))
    right = network.level(memory, ids, level.long()).numpy()
    found = prior.begin_hop(
        heard.ids.numpy(), heard.joints.numpy(), heard.box.numpy(), box.numpy(), np.zeros(len(ids), bool), None
    )
    apart = float(np.abs(prior.level(found, ids.numpy(), int(level[0])) - right).max())
    if apart > TOLERANCE:
        raise ValueError(f"the exported graphs of the prior differ from the network by {apart:.1e}")
