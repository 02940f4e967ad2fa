"""LPIPS on drawn heatmaps: how far apart two pictures are to a network that learned to see.

Zhang et al. 2018 (arXiv 1801.03924), equation 1, on VGG-16 as VQGAN uses it (Esser et al. 2021, arXiv 2012.09841).
The weights are their authors' and not part of this package.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of VGG-16's convolutions; each block ends with a tap and, but for the last, a pooling."""

NETWORK = "vgg16-397923af.pth"
METRIC = "vgg.pth"
FRAMES = 4
"""Frames of a window that are compared in a step."""

MEAN, SPREAD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Of the channels of natural pictures in -1..1, as the weights expect them."""


class Perceptual(nn.Module):
    """Compares pictures; never trained itself.

    folder: holds `vgg16-397923af.pth`, torchvision's VGG-16, and `vgg.pth`, the weights of version 0.1 in the lpips
    package. Raises FileNotFoundError where one is missing, ValueError where it is something else.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        taps, seen = [], 3
        for number, block in enumerate(BLOCKS):
            if number:
                layers.append(nn.MaxPool2d(2))
            for channels in block:
                layers += [nn.Conv2d(seen, channels, 3, padding=1), nn.ReLU()]
                seen = channels
            taps.append(len(layers))
        self.features = nn.Sequential(*layers)
        self._taps = taps
        kept = _read(folder / NETWORK)
        metric = _read(folder / METRIC)
        try:
            self.features.load_state_dict(
                {name.removeprefix("features."): value for name, value in kept.items() if "features." in name}
            )
            self.weights = nn.ParameterList(metric[f"lin{number}.model.1.weight"] for number in range(len(BLOCKS)))
        except (RuntimeError, KeyError) as error:
            raise ValueError(f"{folder} holds other weights than {NETWORK} and {METRIC} do: {error}") from None
        self.requires_grad_(False)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the mean distance of pictures [N, 1, H, W] in 0..1, at least 16 x 16: a scalar."""
        stages = self._stages(torch.cat([one, other]))
        total = one.new_zeros(())
        for stage, weight in zip(stages, self.weights, strict=True):
            unit = stage / (stage.norm(dim=1, keepdim=True) + 1e-10)
            first, second = unit.chunk(2)
            total = total + ((first - second) ** 2 * weight).sum(dim=1).mean()
        return total

    def _stages(self, pictures: Tensor) -> list[Tensor]:
        mean, spread = (pictures.new_tensor(each).view(1, 3, 1, 1) for each in (MEAN, SPREAD))
        x = ((2 * pictures - 1) - mean) / spread
        stages = []
        for start, end in zip([0, *self._taps], self._taps, strict=False):
            x = self.features[start:end](x)
            stages.append(x)
        return stages


def pictures(maps: Tensor, planes: int) -> Tensor:
    """Return heatmaps as pictures, all of a plane as one: [B, M, T, G, G] -> [B * planes * T, 1, G, G]."""
    return maps.unflatten(1, (planes, -1)).amax(dim=2).flatten(0, 2).unsqueeze(1)


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing: losses.perceptual needs losses.perceptual_weights, a folder with {NETWORK} "
            f"of torchvision and {METRIC} of the lpips package (weights/v0.1)"
        )
    kept: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return kept
