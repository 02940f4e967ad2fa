"""Mixing over time with explicit state: the only place where a streaming network sees the past.

Activations are [B, T, N, C]: T instants, N places of the token grid, C channels last, so that every layer is one
matrix product. A layer keeps its past as the last `kernel - 1` inputs; forward over a window is `step` from zeros.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class State:
    """The pasts of all streaming layers of a network, by path: read once, written once per step."""

    def __init__(self, past: dict[str, Tensor]) -> None:
        self.past = past
        self.new: dict[str, Tensor] = {}


class TimeMix(nn.Module):
    """A causal convolution over time at each place: y[t] = W [x[t - k + 1], ..., x[t]] + b, zeros before the start.

    With `causal` False it is centred, (k - 1) // 2 instants of the future among its inputs, zeros around the window,
    and no past is kept.
    """

    def __init__(self, channels: int, kernel: int, places: int, causal: bool = True) -> None:
        super().__init__()
        self.kernel, self.causal = kernel, causal
        self.mix = nn.Linear(kernel * channels, channels)
        self.past_shape = (kernel - 1, places, channels)
        self.path = ""  # set by name_states: the key of this layer's past

    def forward(self, x: Tensor, state: State) -> Tensor:
        """x: [B, T, N, C] -> the same shape; the past [B, kernel - 1, N, C] is taken from and left in `state`."""
        steps = x.shape[1]
        if self.causal:
            line = torch.cat([state.past[self.path], x], dim=1)
            state.new[self.path] = line[:, steps:]
        else:
            ahead = (self.kernel - 1) // 2
            line = F.pad(x, (0, 0, 0, 0, self.kernel - 1 - ahead, ahead))
        return self.mix(torch.cat([line[:, i : i + steps] for i in range(self.kernel)], dim=-1))


def name_states(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Give every streaming layer the path of its past; return the shapes without batch, by path."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path, layer in network.named_modules():
        if isinstance(layer, TimeMix) and layer.causal:
            layer.path = path.removesuffix(".time")
            shapes[layer.path] = layer.past_shape
    return shapes


def zero_state(shapes: dict[str, tuple[int, ...]], like: Tensor) -> dict[str, Tensor]:
    """Return the state of a stream that has seen nothing, for the batch, type and device of `like`."""
    return {path: like.new_zeros(like.shape[0], *shape) for path, shape in shapes.items()}


def reset_rows(state: dict[str, Tensor], reset: Tensor) -> dict[str, Tensor]:
    """Zero the state of chosen streams. reset: bool or 0/1 [B]."""
    keep = 1 - reset.to(torch.float32)
    return {path: past * keep.view(-1, 1, 1, 1) for path, past in state.items()}
