"""The VQ tokenizer of heatmaps: encoder, quantizer, decoder.

After "Adversarially-Refined VQ-GAN with Dense Motion Tokenization for Spatio-Temporal Heatmaps" (arXiv 2509.19252),
made streaming (`training.model.patch`), beside the paper's own network (`training.model.conv3d`).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stream.motion.heatmap import planes_of
from training.model.config import ModelConfig
from training.model.conv3d import WindowedDecoder, WindowedEncoder
from training.model.heatmaps import joints_of_maps, outer
from training.model.layers import expected_position
from training.model.patch import Decoder, Encoder, PatchDecoder
from training.model.quantizers import make_quantizer
from training.model.streaming import State, reset_rows, zero_state

__all__ = ["ModelConfig", "Reconstruction", "TokenizerNetwork"]

ALL = slice(None)


@dataclass
class Reconstruction:
    """One pass through encoder, quantizer and decoder.

    The decoder drew either the distribution of each joint along each axis (`axes`), or heatmaps (`maps`); joints and
    presence are None where the maps are of limbs, which show no joints.
    """

    joints: Tensor | None  # [B, T, V * J, D], box coordinates
    presence: Tensor | None  # [B, T, V * J], logits
    axes: Tensor | None  # [B, T, J, D, G], logits of the joint's position along each axis
    maps: Tensor | None  # [B, M, T, G, G], logits of the heatmaps' pixels
    tokens: Tensor  # int [B, hops, N, L]
    penalties: dict[str, Tensor]  # the quantizer's terms of the loss, by name

    def heatmaps(self, sigma: float, frames: slice = ALL) -> Tensor:
        """Return the decoded heatmaps of some frames, float [B, M, T, G, G] in 0..1, with gradients.

        A map of distributions is their outer product, scaled so that a sure one has the height of a Gaussian of
        `sigma` pixels, 1, and an unsure one is as much lower as it is wider.
        """
        if self.maps is not None:
            return self.maps[:, :, frames].sigmoid()
        assert self.axes is not None
        assert self.presence is not None
        height = (2 * math.pi) ** 0.5 * sigma
        lines = (self.axes[:, frames].softmax(dim=-1) * height).unbind(dim=3)
        there = self.presence[:, frames].sigmoid().unsqueeze(-1)
        planes = planes_of(len(lines))
        down = torch.cat([lines[row] for _, row in planes], dim=2)
        across = torch.cat([lines[column] * there for column, _ in planes], dim=2)
        return outer(down, across).clamp(max=1.0)


class TokenizerNetwork(nn.Module):
    """Encoder, quantizer and decoder. dead_below: uses per step below which a code of the codebook is revived."""

    def __init__(self, config: ModelConfig, dead_below: float = 0.0) -> None:
        super().__init__()
        config.check()
        self.config = config
        conv3d, axes = config.network == "conv3d", config.outputs == "axes"
        self.encoder = WindowedEncoder(config) if conv3d else Encoder(config)
        self.decoder: Decoder | PatchDecoder | WindowedDecoder
        self.decoder = WindowedDecoder(config) if conv3d else Decoder(config) if axes else PatchDecoder(config)
        self.codes = make_quantizer(config, dead_below)
        self.quantizer = self.codes.module

    @property
    def has_codebook(self) -> bool:
        """Whether the codebook has begun: the first batch of training that is rounded makes it."""
        return all(bool(value) for name, value in self.named_buffers() if name.endswith("initted"))

    def forward(self, keypoints: Tensor, quantize: bool = True, temperature: float = 1.0) -> Reconstruction:
        """Encode and decode whole hops from the zero state. keypoints: [B, T, V * J, D + 1].

        quantize False: as a plain autoencoder, as is a network outside of training whose codebook has not begun.
        temperature: of the quantizer's sampling, where it samples.
        """
        quantize = quantize and (self.training or self.has_codebook)
        batch = keypoints.shape[0]
        latent = self.encoder(keypoints, State(zero_state(self.encoder.states, keypoints)))
        flat = latent.flatten(1, 2)
        if quantize:
            rounded = self.codes.quantize(flat, temperature)
            code, tokens, penalties = rounded.codes, rounded.tokens, rounded.penalties
        else:
            code, penalties = self.codes.plain(flat), {}
            tokens = flat.new_zeros((*flat.shape[:2], self.codes.levels), dtype=torch.long)
        code = code.view(batch, -1, self.config.places, self.config.token_channels)
        drawn, presence = self.decoder(code, State(zero_state(self.decoder.states, code)))
        tokens = tokens.view(batch, -1, self.config.places, self.codes.levels)
        axes, maps = (drawn, None) if self.config.outputs == "axes" else (None, drawn)
        joints, presence = self._joints(drawn, presence)
        return Reconstruction(joints, presence, axes, maps, tokens, penalties)

    def _joints(self, drawn: Tensor, presence: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return joints and the logits of their presence, where what is drawn shows joints."""
        if not self.config.has_joints:
            return None, None
        if presence is None:
            return joints_of_maps(drawn, self.config)
        return expected_position(drawn), presence.float()

    def encode_step(
        self, x: Tensor, reset: Tensor, state: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """One step of the live encoder: x of whole hops, reset [B], state by path -> tokens, latents, new state.

        tokens: int32 [B, hops, N, L]; latents: float32 [B, hops, N, L, K], as they were before rounding.
        """
        now = State(reset_rows(state, reset))
        latent = self.codes.latent(self.encoder(x, now))
        return self.codes.lookup(latent), latent, now.new

    def decode_step(
        self, tokens: Tensor, reset: Tensor, state: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """One step of the live decoder: tokens [B, hops, N, L] -> joints, confidence, new state.

        joints: [B, T, V * J, D] in box coordinates; confidence: [B, T, V * J] in 0..1. Raises ValueError where the
        decoder draws limbs, which show no joints.
        """
        now = State(reset_rows(state, reset))
        drawn, logits = self.decoder(self.codes.decode(tokens), now)
        joints, presence = self._joints(drawn, logits)
        if joints is None or presence is None:
            raise ValueError(f"maps of model.outputs={self.config.outputs} show no joints to decode")
        return joints, presence.sigmoid(), now.new
