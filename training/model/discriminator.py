"""The adversary: a 3D PatchGAN that looks at drawn heatmaps and tells decoded motion from real motion.

After pix2pix's PatchGAN (Isola et al. 2017, arXiv 1611.07004) in three dimensions, with the hinge loss, the late
start and the adaptive weight of VQGAN (Esser et al. 2021, arXiv 2012.09841) and the feature matching of pix2pixHD
(Wang et al. 2018, arXiv 1711.11585) as neural codecs use it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Wrap = Callable[[nn.Module, torch.device], nn.Module]


@dataclass
class AdversaryConfig:
    """The discriminator and its part in the loss."""

    weight: float = 0.0  # of the adversary's pull, beside an equal pull of the reconstruction; 0: no adversary
    features: float = 1.0  # weight of feature matching
    start: int = 1000  # step from which it takes part
    rate: float = 2e-4
    channels: int = 32  # of the first layer, doubled by each
    layers: int = 3  # that halve time, height and width
    frames: int = 16  # it sees a random stretch of this many frames of each window


class PatchDiscriminator(nn.Module):
    """Judges every patch of a clip of heatmaps: [B, M, T, G, G] -> logits [B, 1, t, g, g] and the features before.

    GroupNorm instead of BatchNorm: the judgement of one clip does not depend on the others, batches may be small.
    """

    def __init__(self, maps: int, channels: int, layers: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = [nn.Sequential(nn.Conv3d(maps, channels, 4, 2, 1), nn.LeakyReLU(0.2))]
        for _ in range(1, layers):
            conv = nn.Conv3d(channels, 2 * channels, 4, 2, 1)
            blocks.append(nn.Sequential(conv, nn.GroupNorm(8, 2 * channels), nn.LeakyReLU(0.2)))
            channels *= 2
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Conv3d(channels, 1, 3, 1, 1)

    def forward(self, maps: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See the class."""
        features = []
        for block in self.blocks:
            maps = block(maps)
            features.append(maps)
        return self.head(maps), features


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """Return the discriminator's loss: logits of real patches above 1, of decoded ones below -1, cost nothing."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def matching(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Return how far the features of decoded maps are from those of real ones, relative to the real ones' size."""
    apart = [
        (f - r.detach()).abs().mean() / r.detach().abs().mean().clamp(min=1e-6) for r, f in zip(real, fake, strict=True)
    ]
    return torch.stack(apart).mean()


def adaptive_weight(reconstruction: Tensor, pull: Tensor, last_layer: Tensor) -> Tensor:
    """Return the factor that makes the adversary pull at the decoder's last layer as hard as the reconstruction."""
    (wanted,) = torch.autograd.grad(reconstruction, last_layer, retain_graph=True)
    (found,) = torch.autograd.grad(pull, last_layer, retain_graph=True)
    return (wanted.norm() / (found.norm() + 1e-6)).clamp(max=1e4).detach()


def random_stretch(wanted: int, frames: int) -> slice:
    """Choose so many frames that follow each other, of those in a window."""
    count = min(wanted, frames)
    start = int(torch.randint(frames - count + 1, ()))
    return slice(start, start + count)


class Adversary:
    """A discriminator with its optimiser. `learn` on detached maps first, then `pull` at the generator."""

    def __init__(self, config: AdversaryConfig, maps: int, device: torch.device, wrap: Wrap | None = None) -> None:
        """wrap: makes the network one whose gradients are averaged over all processes; None where there is only one."""
        self.config = config
        self.network = PatchDiscriminator(maps, config.channels, config.layers).to(device)
        self._parallel = wrap(self.network, device) if wrap else self.network
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=config.rate, betas=(0.5, 0.9))

    def learn(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Take one step towards telling real maps from decoded ones, [B, M, T, G, G] each; no gradient leaves it."""
        both = torch.cat([real.detach(), fake.detach()])
        logits, _ = self._parallel(both)
        of_real, of_fake = logits.float().chunk(2)
        loss = hinge(of_real, of_fake)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return {
            "adversary/hinge": loss.detach(),
            "adversary/real": of_real.mean().detach(),
            "adversary/fake": of_fake.mean().detach(),
        }

    def pull(
        self, real: Tensor, fake: Tensor, reconstruction: Tensor, last_layer: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what the generator is to minimise besides its reconstruction; the discriminator gets no gradient."""
        self.network.requires_grad_(False)
        logits, of_fake = self.network(fake)
        with torch.no_grad():
            _, of_real = self.network(real)
        self.network.requires_grad_(True)
        pull, apart = -logits.float().mean(), matching(of_real, of_fake)
        factor = adaptive_weight(reconstruction, pull, last_layer)
        terms = {"adversary/pull": pull, "adversary/features": apart, "adversary/factor": factor}
        loss = self.config.weight * factor * pull + self.config.features * apart
        return loss, {name: term.detach() for name, term in terms.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
