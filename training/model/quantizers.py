"""From latents to ids and back: the quantizers of vector-quantize-pytorch and the dVAE's, behind one interface.

Each is a view of the module that holds the weights, so that the weights keep their names. `latent` and `lookup` are
what a live encoder runs, `decode` what a live decoder runs; all of it in float32, because a tie that rounds the other
way is another token.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from vector_quantize_pytorch import FSQ, ResidualVQ, VectorQuantize

from training.model.config import ModelConfig

DECAY = 0.99
"""Of the moving averages that make the codebook: what every shipping codec uses."""


@dataclass
class Quantized:
    """codes: [B, N, C]; tokens: [B, N, L]; penalties: terms of the loss by name."""

    codes: Tensor
    tokens: Tensor
    penalties: dict[str, Tensor]


class Quantizer(Protocol):
    """Rounds latents to ids of a vocabulary."""

    levels: int

    @property
    def module(self) -> nn.Module:
        """The weights."""

    def quantize(self, x: Tensor, temperature: float) -> Quantized:
        """Round [B, N, C] with gradients that pass through. temperature: of the sampling, where there is any."""

    def plain(self, x: Tensor) -> Tensor:
        """Return [B, N, C] through the same narrow neck without rounding, to warm up as a plain autoencoder."""

    def latent(self, x: Tensor) -> Tensor:
        """Return what is compared with the codebook: [..., C] -> float32 [..., L, K]."""

    def lookup(self, latent: Tensor) -> Tensor:
        """Return the ids: [..., L, K] -> int32 [..., L]."""

    def decode(self, tokens: Tensor) -> Tensor:
        """Return the codes of ids: [..., L] -> [..., C]."""


class CosineLookup:
    """VQ by the largest cosine in few dimensions (Yu et al. 2022, arXiv 2110.04627), the codebook a moving average.

    The codebook starts from k-means on the first batch; codes used less than `dead_below` times a step are replaced.
    """

    levels = 1

    def __init__(self, config: ModelConfig, dead_below: float) -> None:
        self.module: Any = VectorQuantize(
            dim=config.token_channels,
            codebook_size=config.vocabulary,
            codebook_dim=config.code_channels,
            use_cosine_sim=True,
            kmeans_init=True,
            decay=DECAY,
            threshold_ema_dead_code=dead_below,
            commitment_weight=1.0,
            rotation_trick=False,
        )

    def quantize(self, x: Tensor, temperature: float) -> Quantized:
        """See `Quantizer`."""
        codes, tokens, commitment = self.module(x)
        return Quantized(codes, tokens.unsqueeze(-1), {"commitment": commitment.sum()})

    def plain(self, x: Tensor) -> Tensor:
        """See `Quantizer`."""
        return self.module.project_out(F.normalize(self.module.project_in(x), dim=-1))

    def latent(self, x: Tensor) -> Tensor:
        """See `Quantizer`. Unit vectors."""
        return F.normalize(self.module.project_in(x).float(), dim=-1).unsqueeze(-2)

    def lookup(self, latent: Tensor) -> Tensor:
        """See `Quantizer`."""
        return (latent @ self.module.codebook.t()).argmax(dim=-1).to(torch.int32)

    def decode(self, tokens: Tensor) -> Tensor:
        """See `Quantizer`."""
        return self.module.project_out(self.module.codebook[tokens.squeeze(-1).long()])


class ResidualModule(nn.Module):
    """The weights of `ResidualLookup`."""

    def __init__(self, config: ModelConfig, dead_below: float) -> None:
        super().__init__()
        self.project_in = nn.Linear(config.token_channels, config.code_channels)
        self.project_out = nn.Linear(config.code_channels, config.token_channels)
        self.residual = ResidualVQ(
            dim=config.code_channels,
            num_quantizers=config.levels,
            codebook_size=config.vocabulary,
            kmeans_init=True,
            decay=DECAY,
            threshold_ema_dead_code=dead_below,
            commitment_weight=1.0,
            rotation_trick=False,
        )


class ResidualLookup:
    """Residual VQ (Zeghidour et al. 2021, arXiv 2107.03312): each level rounds what the levels before it left over.

    Distances are Euclidean: what is left over has a length that says how much it matters.
    """

    def __init__(self, config: ModelConfig, dead_below: float) -> None:
        self.module = ResidualModule(config, dead_below)
        self.levels = config.levels

    def _neck(self, x: Tensor) -> Tensor:
        return F.normalize(self.module.project_in(x).float(), dim=-1)

    def _books(self) -> list[Tensor]:
        return [layer.codebook for layer in self.module.residual.layers]

    def quantize(self, x: Tensor, temperature: float) -> Quantized:
        """See `Quantizer`."""
        codes, tokens, commitment = self.module.residual(self._neck(x))
        return Quantized(self.module.project_out(codes), tokens, {"commitment": commitment.sum()})

    def plain(self, x: Tensor) -> Tensor:
        """See `Quantizer`."""
        return self.module.project_out(self._neck(x))

    def latent(self, x: Tensor) -> Tensor:
        """See `Quantizer`. What each level has left to round."""
        left, found = self._neck(x), []
        for book in self._books():
            found.append(left)
            left = left - book[_nearest(left, book)]
        return torch.stack(found, dim=-2)

    def lookup(self, latent: Tensor) -> Tensor:
        """See `Quantizer`."""
        levels = [_nearest(latent[..., level, :], book) for level, book in enumerate(self._books())]
        return torch.stack(levels, dim=-1).to(torch.int32)

    def decode(self, tokens: Tensor) -> Tensor:
        """See `Quantizer`."""
        codes = [book[tokens[..., level].long()] for level, book in enumerate(self._books())]
        return self.module.project_out(torch.stack(codes).sum(dim=0))


def _nearest(x: Tensor, book: Tensor) -> Tensor:
    """Return the index of the nearest row: [..., K], [V, K] -> [...]."""
    return (x @ book.t() - 0.5 * book.square().sum(dim=-1)).argmax(dim=-1)


class ScalarRounding:
    """Finite scalar quantization (Mentzer et al. 2023, arXiv 2309.15505): the control that cannot collapse."""

    levels = 1

    def __init__(self, config: ModelConfig) -> None:
        self.module: Any = FSQ(levels=list(config.fsq_levels), dim=config.token_channels)

    def quantize(self, x: Tensor, temperature: float) -> Quantized:
        """See `Quantizer`."""
        codes, tokens = self.module(x)
        return Quantized(codes, tokens.long().unsqueeze(-1), {})

    def plain(self, x: Tensor) -> Tensor:
        """See `Quantizer`."""
        return self.module.project_out(self.module.project_in(x).tanh())

    def latent(self, x: Tensor) -> Tensor:
        """See `Quantizer`. One channel per scalar, not yet bounded."""
        return self.module.project_in(x).float().unsqueeze(-2)

    def lookup(self, latent: Tensor) -> Tensor:
        """See `Quantizer`."""
        return self.module.codes_to_indices(self.module.quantize(latent)).to(torch.int32)

    def decode(self, tokens: Tensor) -> Tensor:
        """See `Quantizer`."""
        return self.module.project_out(self.module.implicit_codebook[tokens.squeeze(-1).long()])


class GumbelModule(nn.Module):
    """The weights of `GumbelSampling`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.logits = nn.Linear(config.token_channels, config.vocabulary)
        self.codes = nn.Embedding(config.vocabulary, config.code_channels)
        self.project_out = nn.Linear(config.code_channels, config.token_channels)


class GumbelSampling:
    """The discrete VAE's relaxed sampling (Ramesh et al. 2021, arXiv 2102.12092), the paper's baseline.

    Training mixes codes by a Gumbel-softmax whose temperature falls, and pulls the choice towards the uniform by a
    KL divergence, in nats per token; the live encoder takes the likeliest id.
    """

    levels = 1

    def __init__(self, config: ModelConfig) -> None:
        self.module = GumbelModule(config)

    def quantize(self, x: Tensor, temperature: float) -> Quantized:
        """See `Quantizer`."""
        logits = self.module.logits(x).float()
        if self.module.training:
            chosen = F.gumbel_softmax(logits, tau=temperature, dim=-1)
            codes = self.module.project_out(chosen @ self.module.codes.weight)
        else:
            codes = self.decode(logits.argmax(dim=-1, keepdim=True))
        log_share = logits.log_softmax(dim=-1)
        log_uniform = -torch.log(torch.tensor(float(logits.shape[-1])))
        kl = (log_share.exp() * (log_share - log_uniform)).sum(dim=-1).mean()
        return Quantized(codes, logits.argmax(dim=-1, keepdim=True), {"kl": kl})

    def plain(self, x: Tensor) -> Tensor:
        """Return the mean of the codes under the choice's softmax, nothing drawn."""
        return self.module.project_out(self.module.logits(x).float().softmax(dim=-1) @ self.module.codes.weight)

    def latent(self, x: Tensor) -> Tensor:
        """See `Quantizer`. One logit per id."""
        return self.module.logits(x).float().unsqueeze(-2)

    def lookup(self, latent: Tensor) -> Tensor:
        """See `Quantizer`."""
        return latent.argmax(dim=-1).to(torch.int32)

    def decode(self, tokens: Tensor) -> Tensor:
        """See `Quantizer`."""
        return self.module.project_out(self.module.codes.weight[tokens.squeeze(-1).long()])


def make_quantizer(config: ModelConfig, dead_below: float) -> Quantizer:
    """Return the quantizer of a configuration. dead_below: uses per step below which a code is revived."""
    if config.quantizer == "fsq":
        return ScalarRounding(config)
    if config.quantizer == "gumbel":
        return GumbelSampling(config)
    return CosineLookup(config, dead_below) if config.levels == 1 else ResidualLookup(config, dead_below)
