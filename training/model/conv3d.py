"""The paper's network: Conv3d residual blocks over a whole window, attention at the lowest resolution.

After "Adversarially-Refined VQ-GAN with Dense Motion Tokenization for Spatio-Temporal Heatmaps" (arXiv 2509.19252)
and VQGAN (Esser et al. 2021, arXiv 2012.09841), whose layout of levels it takes. Norms and attention look over the
whole window, past and future alike, so it tokenizes windows and never streams. It keeps no state.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.model.config import ModelConfig
from training.model.heatmaps import draw_maps
from training.model.streaming import State

GROUPS = 32


def norm(channels: int) -> nn.GroupNorm:
    """Normalise groups of channels over the whole window."""
    return nn.GroupNorm(min(GROUPS, channels), channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """Two 3 x 3 x 3 convolutions around which the input goes unchanged."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = norm(channels)
        self.conv1 = nn.Conv3d(channels, out_channels, 3, padding=1)
        self.norm2 = norm(out_channels)
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv3d(channels, out_channels, 1) if channels != out_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, H, W] -> [B, C', T, H, W]."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return self.skip(x) + h


class Attention(nn.Module):
    """Every place and instant listens to all others, one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.qkv = nn.Conv3d(channels, 3 * channels, 1)
        self.out = nn.Conv3d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, H, W] -> the same shape, residual added."""
        qkv = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).unsqueeze(1)  # [B, one head, T H W, 3 C]
        query, key, value = qkv.chunk(3, dim=-1)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return x + self.out(mixed.squeeze(1).transpose(1, 2).reshape(x.shape))


class Down(nn.Module):
    """A strided convolution that halves the axes whose stride is 2."""

    def __init__(self, channels: int, stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, 3, stride=stride, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, H, W] -> [B, C, T / st, H / sh, W / sw]."""
        return self.conv(x)


class Up(nn.Module):
    """Repeats along the axes whose stride is 2, then smooths with a convolution."""

    def __init__(self, channels: int, stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.stride = tuple(float(s) for s in stride)
        self.conv = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, H, W] -> [B, C, st T, sh H, sw W]."""
        return self.conv(F.interpolate(x, scale_factor=self.stride, mode="nearest"))


def strides_of(config: ModelConfig) -> list[tuple[int, int, int]]:
    """Return the stride after each level, fine to coarse: 2 along every axis that is not yet at its full stride."""
    time, space = config.hop, config.grid // config.cells
    strides = []
    for _ in range(len(config.conv_channels) - 2):
        st, ss = min(2, time), min(2, space)
        strides.append((st, ss, ss))
        time, space = time // st, space // ss
    return strides


class WindowedEncoder(nn.Module):
    """Keypoints (or heatmaps) of a whole window to one latent vector per place of the token grid."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = self.config = config
        channels = list(c.conv_channels)
        layers: list[nn.Module] = [nn.Conv3d(c.maps, channels[0], 3, padding=1)]
        strides = strides_of(c)
        for level, (before, after) in enumerate(pairwise(channels)):
            for n in range(c.conv_blocks):
                layers.append(ResidualBlock(before if n == 0 else after, after))
                if level == len(strides):
                    layers.append(Attention(after))
            if level < len(strides):
                layers.append(Down(after, strides[level]))
        last = channels[-1]
        layers += [ResidualBlock(last, last), Attention(last), ResidualBlock(last, last)]
        layers += [norm(last), nn.SiLU(), nn.Conv3d(last, c.token_channels, 3, padding=1)]
        self.layers = nn.Sequential(*layers)
        self.states: dict[str, tuple[int, ...]] = {}

    def forward(self, x: Tensor, state: State) -> Tensor:
        """[B, T, V * J, D + 1] keypoints or [B, M, T, G, G] heatmaps -> latents [B, T / hop, N, C]."""
        maps = x if x.dim() == 5 else draw_maps(x, self.config.inputs, self.config)
        return self.layers(maps).flatten(3).permute(0, 2, 3, 1)


class WindowedDecoder(nn.Module):
    """Latent vectors of a whole window to the logits of its heatmaps."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = self.config = config
        channels = [c.conv_channels[-1], *reversed(c.conv_channels[1:])]
        first = channels[0]
        layers: list[nn.Module] = [nn.Conv3d(c.token_channels, first, 3, padding=1)]
        layers += [ResidualBlock(first, first), Attention(first), ResidualBlock(first, first)]
        strides = [*reversed(strides_of(c))]
        for level, (before, after) in enumerate(pairwise(channels)):
            for n in range(c.conv_blocks + 1):
                layers.append(ResidualBlock(before if n == 0 else after, after))
                if level == 0:
                    layers.append(Attention(after))
            if level < len(strides):
                layers.append(Up(after, strides[level]))
        last = channels[-1]
        self.layers = nn.Sequential(*layers, norm(last), nn.SiLU())
        self.head = nn.Conv3d(last, c.drawn_maps, 3, padding=1)
        nn.init.constant_(self.head.bias, -4.0)  # type: ignore[arg-type]  # heatmaps are almost empty: begin so
        self.states: dict[str, tuple[int, ...]] = {}

    def forward(self, latent: Tensor, state: State) -> tuple[Tensor, None]:
        """[B, T / hop, N, C] -> logits of the heatmaps [B, M, T, G, G], never in half precision."""
        h = latent.permute(0, 3, 1, 2).unflatten(3, (self.config.cells, self.config.cells))
        h = self.layers(h)
        with torch.autocast(h.device.type, enabled=False):
            return self.head(h.to(self.head.weight.dtype)), None

    @property
    def last_layer(self) -> Tensor:
        """The weight at which the adversary's pull is measured against the reconstruction's."""
        return self.head.weight
