"""Layers of the patch network, from drawn or undrawn heatmaps to the token grid and back to the axes of every joint.

A Gaussian heatmap is an outer product. So the coefficients of its patches follow from two vectors alone, and the stem
gives the same numbers from joints as from drawn heatmaps without drawing them. And its logarithm is a sum over the
axes, so one distribution over 64 positions per axis says all that a 64 x 64 map of one joint can say, and three of
them say all three projections of a 3D pose.
"""

import torch
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


class Gather(nn.Module):
    """Features of every joint from all places of a hop: each place says a little, each joint listens to all of it."""

    def __init__(self, places: int, channels: int, said: int, joints: int, joint_channels: int) -> None:
        super().__init__()
        self.joints = joints
        self.norm = nn.LayerNorm(channels)
        self.say = nn.Linear(channels, said)
        self.listen = nn.Linear(places * said, joints * joint_channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, N, C] -> [B, T, J, joint channels], T counting hops."""
        said = self.say(self.norm(x)).flatten(2)
        return self.listen(said).view(*said.shape[:2], self.joints, -1)


class AxisHead(nn.Module):
    """Features of every joint to the logits of its position along each axis."""

    def __init__(self, axes: int, grid: int, channels: int) -> None:
        super().__init__()
        self.axes, self.grid = axes, grid
        self.norm = nn.LayerNorm(channels)
        self.out = nn.Linear(channels, axes * grid)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, J, C] -> logits [B, T, J, axes, grid], never in half precision."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.out.weight.dtype)
            return self.out(self.norm(x)).view(*x.shape[:3], self.axes, self.grid)


def expected_position(logits: Tensor) -> Tensor:
    """Soft-argmax along the last axis: logits [..., G] -> positions [...] in box coordinates."""
    grid = logits.shape[-1]
    pixel = (torch.arange(grid, dtype=logits.dtype, device=logits.device) + 0.5) / grid
    return logits.softmax(dim=-1) @ pixel


class PatchStem(nn.Module):
    """Heatmaps to features on the token grid: coefficients of each patch in a learnt basis, then one mixing layer."""

    def __init__(self, maps: int, grid: int, cells: int, basis: int, channels: int) -> None:
        super().__init__()
        self.cells, self.patch = cells, grid // cells
        self.basis = nn.Parameter(torch.randn(self.patch, self.patch, basis) / self.patch)  # row, column, coefficient
        self.mix = nn.Linear(maps * basis, channels)

    def forward(self, down: Tensor, across: Tensor) -> Tensor:
        """Factors of the heatmaps, each [B, T, M, G] -> [B, T, N, C]."""
        batch, frames, maps, _ = down.shape
        down = down.view(batch, frames, maps, self.cells, self.patch)
        across = across.view(batch, frames, maps, self.cells, self.patch)
        by_column = self.basis.transpose(0, 1).reshape(self.patch, -1)  # column, (row, coefficient)
        half = across @ by_column  # [B, T, M, cell column, (row in patch, coefficient)]
        half = half.view(batch, frames, maps, self.cells, self.patch, -1).transpose(3, 4)
        whole = down @ half.reshape(batch, frames, maps, self.patch, -1)  # [B, T, M, cell row, (cell column, coef)]
        whole = whole.view(batch, frames, maps, self.cells * self.cells, -1).transpose(2, 3)
        return self.mix(whole.reshape(batch, frames, self.cells * self.cells, -1))

    def from_heatmaps(self, heatmaps: Tensor) -> Tensor:
        """The same from drawn heatmaps [B, M, T, G, G]."""
        batch, maps, frames, _, _ = heatmaps.shape
        cells, patch = self.cells, self.patch
        patches = heatmaps.view(batch, maps, frames, cells, patch, cells, patch).permute(0, 2, 3, 5, 1, 4, 6)
        whole = patches.reshape(batch, frames, cells * cells, maps, -1) @ self.basis.view(patch * patch, -1)
        return self.mix(whole.reshape(batch, frames, cells * cells, -1))


class PatchHead(nn.Module):
    """Features on the token grid to the logits of every heatmap's pixels."""

    def __init__(self, maps: int, grid: int, cells: int, basis: int, channels: int) -> None:
        super().__init__()
        self.maps, self.grid, self.cells, self.patch = maps, grid, cells, grid // cells
        self.norm = nn.LayerNorm(channels)
        self.mix = nn.Linear(channels, maps * basis)
        self.basis = nn.Parameter(self._first_basis(basis))
        self.empty = nn.Parameter(torch.tensor(-4.0))  # the logit of nothing there: most pixels are empty

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, N, C] -> logits [B, M, T, G, G], never in half precision."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.mix.weight.dtype)
            batch, frames = x.shape[:2]
            coefficients = self.mix(self.norm(x)).view(batch, frames, self.cells, self.cells, self.maps, -1)
            patches = (coefficients @ self.basis).unflatten(-1, (self.patch, self.patch)) + self.empty
            return patches.permute(0, 4, 1, 2, 5, 3, 6).reshape(batch, self.maps, frames, self.grid, self.grid)

    def _first_basis(self, basis: int) -> Tensor:
        """Start from the polynomials that the logarithm of a Gaussian is made of; the rest is noise."""
        pixel = torch.linspace(-1, 1, self.patch)
        row, column = (axis.flatten() for axis in torch.meshgrid(pixel, pixel, indexing="ij"))
        shapes = torch.stack([torch.ones_like(row), row, column, row * row, column * column, row * column])
        return torch.cat([shapes, torch.randn(basis, self.patch**2) * 0.1])[:basis]
