"""The weights of a run: read from its checkpoint, or taken from another run or tokenizer to begin with."""

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from engine.errors import TokenizerError
from engine.spec import load_tokenizer
from training.config import TrainConfig, load_config
from training.model.tokenizer import TokenizerNetwork
from training.run import distributed as parallel
from training.run.folder import is_run


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


def build(config: TrainConfig) -> TokenizerNetwork:
    """Make the network, its codebook revived in proportion to how many tokens a step has."""
    tokens_per_code = config.tokens_per_step * parallel.world() / config.model.vocabulary
    return TokenizerNetwork(config.model, dead_below=config.optim.dead_share * tokens_per_code)


def load_network(folder: Path) -> TokenizerNetwork:
    """Return the network of a run as it was last saved, in evaluation mode, on the CPU.

    Raises TokenizerError where the checkpoint is damaged or does not fit the run's configuration.
    """
    return load_trained(folder)[0]


def load_trained(folder: Path) -> tuple[TokenizerNetwork, int]:
    """Return the network of `load_network` and the step at which it was saved."""
    checkpoint = folder / "checkpoint.pt"
    try:
        network = build(load_config(folder / "config.yaml", []))
    except (OSError, ValueError, OmegaConfBaseException) as error:
        raise TokenizerError(f"{folder} is not a complete run: {error}") from None
    state = _read(checkpoint)
    try:
        network.load_state_dict(state["network"])
        return network.eval(), int(state["step"])
    except (RuntimeError, KeyError, TypeError) as error:
        raise _of_another(checkpoint, error) from None


def need_codebook(network: TokenizerNetwork, folder: Path) -> None:
    """Raise TokenizerError where a run was stopped before its codebook began."""
    if not network.has_codebook:
        raise TokenizerError(
            f"{folder} was stopped before its codebook was initialised; resume with "
            f"python -m training.train --resume {folder}"
        )


def _of_another(checkpoint: Path, error: Exception) -> TokenizerError:
    return TokenizerError(
        f"{checkpoint} is of another configuration ({str(error).strip().splitlines()[0]}): "
        "resume with the run's own config.yaml"
    )


def _read(checkpoint: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a file that is not its own
        raise TokenizerError(
            f"{checkpoint} is damaged ({str(error).strip().splitlines()[0]}): train again, or restore the file"
        ) from None
    return state
