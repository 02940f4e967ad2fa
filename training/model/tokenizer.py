"""The causal VQ tokenizer of heatmaps: encoder, codebook, decoder.

After "Adversarially-Refined VQ-GAN with Dense Motion Tokenization for Spatio-Temporal Heatmaps" (arXiv 2509.19252),
made streaming: per-frame work is pointwise with short causal time mixing, space is mixed by attention within one hop.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from vector_quantize_pytorch import VectorQuantize

from training.model.axes import AxisHead, Gather, expected_position
from training.model.blocks import FrameBlock, TokenBlock
from training.model.patches import PatchStem, marginals
from training.model.streaming import State, name_states, reset_rows, zero_state


@dataclass
class ModelConfig:
    """Sizes of a tokenizer."""

    dims: int = 2  # 2: image plane; 3: three projections
    grid: int = 64  # side of a heatmap, pixels
    sigma: float = 2.0  # of the Gaussian, pixels of the grid
    hop: int = 8  # frames per packet: the stride in time
    cells: int = 8  # side of the token grid
    vocabulary: int = 512
    code_channels: int = 8  # channels of the cosine lookup
    basis: int = 16  # coefficients per patch and joint
    frame_channels: int = 128
    token_channels: int = 192
    joint_channels: int = 128
    said_channels: int = 12  # that each place contributes to the joints
    frame_blocks: int = 2
    token_blocks: int = 4
    joint_blocks: int = 1
    joints: int = 17

    @property
    def maps(self) -> int:
        """Heatmaps per frame."""
        return self.joints * (3 if self.dims == 3 else 1)

    @property
    def places(self) -> int:
        """Places of the token grid."""
        return self.cells * self.cells


class Encoder(nn.Module):
    """Keypoints (or heatmaps) of whole hops to one latent vector per place and hop."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = self.config = config
        self.stem = PatchStem(c.maps, c.grid, c.cells, c.basis, c.frame_channels)
        self.place_in_frame = nn.Parameter(torch.randn(c.places, c.frame_channels) * 0.02)
        self.frame = nn.ModuleList(FrameBlock(c.frame_channels, c.places) for _ in range(c.frame_blocks))
        self.merge = nn.Linear(c.hop * c.frame_channels, c.token_channels)
        self.place_in_hop = nn.Parameter(torch.randn(c.places, c.token_channels) * 0.02)
        self.token = nn.ModuleList(TokenBlock(c.token_channels, c.places) for _ in range(c.token_blocks))
        self.norm = nn.LayerNorm(c.token_channels)
        self.states = name_states(self)

    def forward(self, x: Tensor, state: State) -> Tensor:
        """[B, T, J, D + 1] keypoints or [B, M, T, G, G] heatmaps, T whole hops -> latents [B, T / hop, N, C]."""
        c = self.config
        h = self.stem.from_heatmaps(x) if x.dim() == 5 else self.stem(*marginals(x, c.grid, c.sigma))
        h = h + self.place_in_frame
        for block in self.frame:
            h = block(h, state)
        batch, frames, places, channels = h.shape
        h = h.view(batch, frames // c.hop, c.hop, places, channels).transpose(2, 3)
        h = self.merge(h.reshape(batch, frames // c.hop, places, c.hop * channels)) + self.place_in_hop
        for block in self.token:
            h = block(h, state)
        return self.norm(h)


class Decoder(nn.Module):
    """Latent vectors per place and hop back to the distribution of every joint along each axis, frame by frame."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = self.config = config
        self.place = nn.Parameter(torch.randn(c.places, c.token_channels) * 0.02)
        self.token = nn.ModuleList(TokenBlock(c.token_channels, c.places) for _ in range(c.token_blocks))
        self.gather = Gather(c.places, c.token_channels, c.said_channels, c.joints, c.joint_channels)
        self.joint = nn.ModuleList(TokenBlock(c.joint_channels, c.joints) for _ in range(c.joint_blocks))
        self.split = nn.Linear(c.joint_channels, c.hop * c.frame_channels)
        self.frame = nn.ModuleList(FrameBlock(c.frame_channels, c.joints) for _ in range(c.frame_blocks))
        self.head = AxisHead(c.dims, c.grid, c.frame_channels)
        self.presence = nn.Linear(c.frame_channels, 1)
        self.states = name_states(self)

    def forward(self, latent: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """[B, hops, N, C] -> logits along each axis [B, T, J, D, G], logits of presence [B, T, J]."""
        c = self.config
        h = latent + self.place
        for block in self.token:
            h = block(h, state)
        h = self.gather(h)
        for block in self.joint:
            h = block(h, state)
        batch, hops, joints, _ = h.shape
        h = self.split(h).view(batch, hops, joints, c.hop, c.frame_channels).transpose(2, 3)
        h = h.reshape(batch, hops * c.hop, joints, c.frame_channels)
        for block in self.frame:
            h = block(h, state)
        return self.head(h), self.presence(h).squeeze(-1)


@dataclass
class Reconstruction:
    """What training needs of one pass."""

    joints: Tensor  # [B, T, J, D], box coordinates
    logits: Tensor  # [B, T, J, D, G], of the joint's position along each axis
    presence: Tensor  # [B, T, J], logits
    tokens: Tensor  # [B, hops, N]
    commitment: Tensor


class Tokenizer(nn.Module):
    """Encoder, vector quantizer and decoder."""

    def __init__(self, config: ModelConfig, dead_below: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quantizer = VectorQuantize(
            dim=config.token_channels,
            codebook_size=config.vocabulary,
            codebook_dim=config.code_channels,
            use_cosine_sim=True,
            kmeans_init=True,
            decay=0.99,
            threshold_ema_dead_code=dead_below,
            commitment_weight=1.0,
            rotation_trick=False,
        )

    def forward(self, keypoints: Tensor, quantize: bool = True) -> Reconstruction:
        """Encode and decode whole hops from the zero state. keypoints: [B, T, J, D + 1]."""
        batch = keypoints.shape[0]
        latent = self.encoder(keypoints, State(zero_state(self.encoder.states, keypoints)))
        flat = latent.flatten(1, 2)
        if quantize:
            code, tokens, commitment = self.quantizer(flat)
        else:  # warm-up as a plain autoencoder, through the same narrow neck
            code = self.quantizer.project_out(nn.functional.normalize(self.quantizer.project_in(flat), dim=-1))
            tokens, commitment = flat.new_zeros(flat.shape[:2], dtype=torch.long), flat.new_zeros(())
        code = code.view(batch, -1, self.config.places, self.config.token_channels)
        logits, presence = self.decoder(code, State(zero_state(self.decoder.states, code)))
        tokens = tokens.view(batch, -1, self.config.places)
        return Reconstruction(expected_position(logits), logits, presence.float(), tokens, commitment.sum())

    @property
    def codebook(self) -> Tensor:
        """Unit vectors [V, code channels] of the lookup."""
        return self.quantizer.codebook

    def encode_step(
        self, x: Tensor, reset: Tensor, state: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """One step of the live encoder: x of whole hops, reset [B], state by path -> tokens, latents, new state.

        tokens: int32 [B, hops, N]; latents: float32 [B, hops, N, code channels], unit vectors before rounding.
        The lookup is by largest cosine, in float32.
        """
        now = State(reset_rows(state, reset))
        latent = nn.functional.normalize(self.quantizer.project_in(self.encoder(x, now)).float(), dim=-1)
        return (latent @ self.codebook.t()).argmax(dim=-1).to(torch.int32), latent, now.new

    def decode_step(
        self, tokens: Tensor, reset: Tensor, state: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """One step of the live decoder: tokens [B, hops, N] -> joints [B, T, J, D], confidence [B, T, J], new state."""
        now = State(reset_rows(state, reset))
        logits, presence = self.decoder(self.quantizer.project_out(self.codebook[tokens.long()]), now)
        return expected_position(logits), presence.float().sigmoid(), now.new
