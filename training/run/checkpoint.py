"""Weights to begin with: those of another run, or of a tokenizer, wherever names and shapes agree."""

from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from engine.spec import load_tokenizer
from training.evaluation.codecs import is_run
from training.run.trainer import load_network


def start_from(network: nn.Module, what: str) -> str:
    """Copy the weights of a run's folder, or of a tokenizer by name or directory, into a network; say how many.

    Only tensors of equal name and shape are taken, so another hop or vocabulary keeps what it has in common. A
    codebook that is taken, if it had begun, is not begun anew by k-means.

    Raises TokenizerError where there is neither, ValueError where nothing fits.
    """
    own, kept = network.state_dict(), _weights(what)
    fitting = {name: value for name, value in kept.items() if name in own and value.shape == own[name].shape}
    for name, value in own.items():
        book, dot, last = name.rpartition(".")
        if last == "initted" and name not in kept and f"{book}{dot}embed" in fitting:
            # A tokenizer directory has only finished codebooks, and no such flag.
            fitting[name] = torch.ones_like(value)
    learnt = [name for name, _ in network.named_parameters()]
    taken = sum(name in fitting for name in learnt)
    if not taken:
        raise ValueError(f"start_from: no weight of {what} fits this configuration")
    network.load_state_dict({**own, **fitting})
    return f"{taken} of {len(learnt)} weights begin as those of {what}"


def _weights(what: str) -> dict[str, Tensor]:
    if is_run(what):
        return dict(load_network(Path(what)).state_dict())
    tensors = safetensors.torch.load_file(load_tokenizer(what).folder / "model.safetensors")
    return {name: value.float() for name, value in tensors.items()}
