"""Residual blocks of the patch network: one for every frame, one for the token grid."""

import torch.nn.functional as F
from torch import Tensor, nn

from training.model.config import HEAD
from training.model.streaming import State, TimeMix


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of [B, heads, Q, C] to [B, heads, N, C].

    Written out: the scores of 64 places are few, and this is faster on a CPU than the fused kernel.
    """
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return scores.softmax(dim=-1) @ value


class FeedForward(nn.Module):
    """Two layers at each place and instant."""

    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.up = nn.Linear(channels, expansion * channels)
        self.down = nn.Linear(expansion * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> [..., C], residual added."""
        return x + self.down(F.silu(self.up(self.norm(x))))


class FrameBlock(nn.Module):
    """Mixes the recent frames at each place, then the channels. Norms are per place and instant: nothing leaks."""

    def __init__(self, channels: int, places: int, causal: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.time = TimeMix(channels, kernel=3, places=places, causal=causal)
        self.feed = FeedForward(channels, expansion=2)

    def forward(self, x: Tensor, state: State) -> Tensor:
        """[B, T, N, C] -> [B, T, N, C]."""
        x = x + self.time(self.norm(x), state)
        return self.feed(x)


class TokenBlock(nn.Module):
    """Mixes a hop with the one before it, then all places of the hop (attention within one instant), then channels.

    With `causal` False the attention is over all places of all hops of the window.
    """

    def __init__(self, channels: int, places: int, causal: bool = True) -> None:
        super().__init__()
        self.heads, self.causal = channels // HEAD, causal
        self.norm_time = nn.LayerNorm(channels)
        self.time = TimeMix(channels, kernel=2, places=places, causal=causal)
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.feed = FeedForward(channels, expansion=4)

    def forward(self, x: Tensor, state: State) -> Tensor:
        """[B, T, N, C] -> [B, T, N, C], T counting hops."""
        x = x + self.time(self.norm_time(x), state)
        batch, hops, places, channels = x.shape
        rows, seen = (batch * hops, places) if self.causal else (batch, hops * places)
        qkv = self.qkv(self.norm(x)).view(rows, seen, 3, self.heads, channels // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = attend(query, key, value)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, hops, places, channels))
        return self.feed(x)
