"""The network of a predictive tokenizer, from the directory that was exported of it."""

import torch
from safetensors.torch import load_file

from engine.errors import TokenizerError
from engine.spec import TokenizerFiles
from training.exporting.weights import SCALE
from training.predictive.config import PredictiveConfig
from training.predictive.network import PredictiveNetwork


def restored(tokenizer: TokenizerFiles) -> PredictiveNetwork:
    """Return the network that a tokenizer's graphs compute. Raises TokenizerError where it is not predictive."""
    spec = tokenizer.spec
    if not spec.predictive:
        raise TokenizerError(f"{spec.name} is not predictive: its ids do not hang on those before them")
    stored = load_file(tokenizer.folder / "model.safetensors")
    weights = {
        name: tensor.float() * stored[name + SCALE] if name + SCALE in stored else tensor.float()
        for name, tensor in stored.items()
        if not name.endswith(SCALE) and not name.startswith("graph.")
    }
    config = PredictiveConfig(
        dims=spec.dims,
        hop=spec.hop,
        past=spec.decoder_states["past"][0],
        levels=spec.token_grid[0],
        vocabulary=spec.vocabulary,
        rank=weights["codes"].shape[2] - 17,
        width=weights["enter.weight"].shape[0],
        depth=sum(name.endswith(".inner.weight") for name in weights),
        refine=weights["refine_in.weight"].shape[0],
    )
    network = PredictiveNetwork(config)
    with torch.no_grad():
        network.load_state_dict(weights)
    return network.eval()
