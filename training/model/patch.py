"""The patch networks: causal in time with state in and state out, or, as a switch, looking both ways within a window.

Per-frame work is pointwise with short mixing over time, space is mixed by attention within one hop.
"""

import torch
from torch import Tensor, nn

from training.model.config import ModelConfig
from training.model.heatmaps import draw_maps, marginals
from training.model.layers import AxisHead, FrameBlock, Gather, PatchHead, PatchStem, TokenBlock
from training.model.streaming import State, name_states


class PlaceInWindow(nn.Module):
    """Says which hop of the window each feature belongs to, where attention looks over all of them."""

    def __init__(self, hops: int, channels: int) -> None:
        super().__init__()
        self.hop = nn.Parameter(torch.randn(hops, 1, channels) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, N, C] -> the same shape, T the hops of one window."""
        return x + self.hop


def place_in_window(config: ModelConfig) -> nn.Module:
    """Return what a network that looks over whole windows needs to know; nothing for a causal one."""
    return nn.Identity() if config.causal else PlaceInWindow(config.steps, config.token_channels)


class Encoder(nn.Module):
    """Keypoints (or heatmaps) of whole hops to one latent vector per place and hop."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = self.config = config
        self.stem = PatchStem(c.maps, c.grid, c.cells, c.basis, c.frame_channels)
        self.place_in_frame = nn.Parameter(torch.randn(c.places, c.frame_channels) * 0.02)
        self.frame = nn.ModuleList(FrameBlock(c.frame_channels, c.places, c.causal) for _ in range(c.frame_blocks))
        self.merge = nn.Linear(c.hop * c.frame_channels, c.token_channels)
        self.place_in_hop = nn.Parameter(torch.randn(c.places, c.token_channels) * 0.02)
        self.place_in_window = place_in_window(c)
        self.token = nn.ModuleList(TokenBlock(c.token_channels, c.places, c.causal) for _ in range(c.token_blocks))
        self.norm = nn.LayerNorm(c.token_channels)
        self.states = name_states(self)

    def forward(self, x: Tensor, state: State) -> Tensor:
        """[B, T, V * J, D + 1] keypoints or [B, M, T, G, G] heatmaps, T whole hops -> latents [B, T / hop, N, C]."""
        c = self.config
        if x.dim() == 5:
            h = self.stem.from_heatmaps(x)
        elif c.inputs == "joints":
            h = self.stem(*marginals(x, c.grid, c.sigma))
        else:
            h = self.stem.from_heatmaps(draw_maps(x, c.inputs, c))
        h = h + self.place_in_frame
        for block in self.frame:
            h = block(h, state)
        batch, frames, places, channels = h.shape
        h = h.view(batch, frames // c.hop, c.hop, places, channels).transpose(2, 3)
        h = self.merge(h.reshape(batch, frames // c.hop, places, c.hop * channels)) + self.place_in_hop
        h = self.place_in_window(h)
        for block in self.token:
            h = block(h, state)
        return self.norm(h)


class Decoder(nn.Module):
    """Latent vectors per place and hop back to the distribution of every joint along each axis, frame by frame."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = self.config = config
        self.place = nn.Parameter(torch.randn(c.places, c.token_channels) * 0.02)
        self.place_in_window = place_in_window(c)
        self.token = nn.ModuleList(TokenBlock(c.token_channels, c.places, c.causal) for _ in range(c.token_blocks))
        self.gather = Gather(c.places, c.token_channels, c.said_channels, c.joints, c.joint_channels)
        self.joint = nn.ModuleList(TokenBlock(c.joint_channels, c.joints, c.causal) for _ in range(c.joint_blocks))
        self.split = nn.Linear(c.joint_channels, c.hop * c.frame_channels)
        self.frame = nn.ModuleList(FrameBlock(c.frame_channels, c.joints, c.causal) for _ in range(c.frame_blocks))
        self.head = AxisHead(c.dims, c.grid, c.frame_channels)
        self.presence = nn.Linear(c.frame_channels, 1)
        self.states = name_states(self)

    def forward(self, latent: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """[B, hops, N, C] -> logits of each joint's positions [B, T, J, D, G], logits of its presence [B, T, J]."""
        c = self.config
        h = self.place_in_window(latent + self.place)
        for block in self.token:
            h = block(h, state)
        h = self.gather(h)
        for block in self.joint:
            h = block(h, state)
        h = spread(self.split(h), c.hop)
        for block in self.frame:
            h = block(h, state)
        return self.head(h), self.presence(h).squeeze(-1)

    @property
    def last_layer(self) -> Tensor:
        """The weight at which the adversary's pull is measured against the reconstruction's."""
        return self.head.out.weight


class PatchDecoder(nn.Module):
    """Latent vectors per place and hop back to the pixels of every heatmap, each place drawing its own patch."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = self.config = config
        self.place = nn.Parameter(torch.randn(c.places, c.token_channels) * 0.02)
        self.place_in_window = place_in_window(c)
        self.token = nn.ModuleList(TokenBlock(c.token_channels, c.places, c.causal) for _ in range(c.token_blocks))
        self.split = nn.Linear(c.token_channels, c.hop * c.frame_channels)
        self.frame = nn.ModuleList(FrameBlock(c.frame_channels, c.places, c.causal) for _ in range(c.frame_blocks))
        self.head = PatchHead(c.drawn_maps, c.grid, c.cells, c.basis, c.frame_channels)
        self.states = name_states(self)

    def forward(self, latent: Tensor, state: State) -> tuple[Tensor, None]:
        """[B, hops, N, C] -> logits of the heatmaps [B, M, T, G, G]."""
        h = self.place_in_window(latent + self.place)
        for block in self.token:
            h = block(h, state)
        h = spread(self.split(h), self.config.hop)
        for block in self.frame:
            h = block(h, state)
        return self.head(h), None

    @property
    def last_layer(self) -> Tensor:
        """The weight at which the adversary's pull is measured against the reconstruction's."""
        return self.head.mix.weight


def spread(x: Tensor, hop: int) -> Tensor:
    """Lay out each hop's features as its frames: [B, hops, N, hop * C] -> [B, hops * hop, N, C]."""
    batch, hops, places, _ = x.shape
    return x.view(batch, hops, places, hop, -1).transpose(2, 3).reshape(batch, hops * hop, places, -1)
