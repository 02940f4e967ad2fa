"""From the token grid to heatmaps: every joint gathers what the grid says of it, then says where it is on each axis.

A Gaussian heatmap is an outer product, so its logarithm is a sum over the axes: one distribution over 64 positions
per axis says all that a 64 x 64 map of one joint can say, and three of them say all three projections of a 3D pose.
"""

import torch
from torch import Tensor, nn


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
