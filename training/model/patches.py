"""Between heatmaps and the token grid: patch by patch, through a small basis that all maps share.

A Gaussian heatmap is the outer product of two vectors, so the coefficients of its patches follow from the two
vectors alone: the stem gives the same numbers from joints as from drawn heatmaps, without drawing them.
"""

import torch
from torch import Tensor, nn

from stream.motion.heatmap import planes_of


def marginal(position: Tensor, grid: int, sigma: float) -> Tensor:
    """Return the Gaussian of each position along one axis: [...] in [0, 1) -> [..., grid], peak 1.

    The torch twin of `stream.motion.heatmap.marginal`.
    """
    pixel = torch.arange(grid, dtype=position.dtype, device=position.device) + 0.5
    return torch.exp(-0.5 * ((position.unsqueeze(-1) * grid - pixel) / sigma) ** 2)


def marginals(keypoints: Tensor, grid: int, sigma: float) -> tuple[Tensor, Tensor]:
    """Return the two factors of every heatmap, rows and columns: each [B, T, P * J, grid], presence in the columns.

    keypoints: [B, T, J, D + 1], box coordinates and presence; the joints of several cameras follow each other.
    """
    planes = planes_of(keypoints.shape[-1] - 1)
    present = keypoints[..., -1:]
    down = torch.cat([marginal(keypoints[..., row], grid, sigma) for _, row in planes], dim=2)
    across = torch.cat([marginal(keypoints[..., column], grid, sigma) * present for column, _ in planes], dim=2)
    return down, across


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
