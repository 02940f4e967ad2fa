"""Sizes and kinds of a tokenizer's network, and which of them go together."""

import math
from dataclasses import dataclass, field
from typing import Literal

from stream.motion.skeleton import BONES, J

Drawing = Literal["joints", "limbs", "combined"]
"""Heatmaps of a body: one map per joint, one per limb, or all limbs in one map."""

MAPS: dict[str, int] = {"axes": J, "joints": J, "limbs": len(BONES), "combined": 1}
"""Maps per plane of each drawing; `axes` says each joint's map by its distribution along rows and columns."""

HEAD = 32
"""Channels of each head of attention."""


@dataclass
class ModelConfig:
    """Sizes of a tokenizer."""

    dims: int = 2  # 2: image plane; 3: three projections
    grid: int = 64  # side of a heatmap, pixels
    sigma: float = 2.0  # of the Gaussian, pixels of the grid
    hop: int = 8  # frames per token: the stride in time, and for causal networks the frames per packet
    cells: int = 8  # side of the token grid
    vocabulary: int = 512
    code_channels: int = 8  # channels of the cosine lookup
    basis: int = 16  # coefficients per patch and map
    frame_channels: int = 128
    token_channels: int = 192
    joint_channels: int = 128
    said_channels: int = 12  # that each place contributes to the joints
    frame_blocks: int = 2
    token_blocks: int = 4
    joint_blocks: int = 1
    joints: int = 17
    views: int = 1  # cameras that see the 2D body at once, each with maps of its own
    inputs: Drawing = "joints"  # what the encoder sees
    outputs: Literal["axes", "joints", "limbs", "combined"] = "axes"  # what the decoder draws
    network: Literal["patch", "conv3d"] = "patch"  # patches, attention, time mixing; or the paper's Conv3d
    causal: bool = True  # looks only back and streams; else looks both ways within a window
    window: int = 0  # frames that a network which is not causal sees at once
    conv_channels: list[int] = field(default_factory=lambda: [64, 64, 128, 128, 256])  # conv3d, from fine to coarse
    conv_blocks: int = 2  # conv3d: residual blocks per level
    quantizer: Literal["vq", "fsq", "gumbel"] = "vq"
    levels: int = 1  # of residual quantization
    fsq_levels: list[int] = field(default_factory=lambda: [8, 8, 8])  # their product is the vocabulary

    @property
    def planes(self) -> int:
        """Planes that a body is drawn on: the three projections of 3D, or one for each camera."""
        return 3 if self.dims == 3 else self.views

    @property
    def maps(self) -> int:
        """Heatmaps per frame that go in."""
        return self.planes * MAPS[self.inputs]

    @property
    def drawn_maps(self) -> int:
        """Heatmaps per frame that come out."""
        return self.planes * MAPS[self.outputs]

    @property
    def has_joints(self) -> bool:
        """Whether positions of joints can be read from what the decoder draws."""
        return self.outputs in ("axes", "joints")

    @property
    def places(self) -> int:
        """Places of the token grid."""
        return self.cells * self.cells

    @property
    def packet(self) -> int:
        """Frames that the encoder takes at once and a packet stands for."""
        return self.hop if self.causal else self.window

    @property
    def steps(self) -> int:
        """Token grid's extent in time, per packet."""
        return self.packet // self.hop

    def check(self) -> None:
        """Raise ValueError, naming the key, where the parts do not go together."""
        for sound, what in (
            (self.dims in (2, 3), f"model.dims must be 2 or 3, not {self.dims}"),
            (self.joints == J, f"model.joints must be {J}, the joints of the skeleton"),
            (min(self.grid, self.cells, self.hop) > 0, "model.grid, model.cells and model.hop must be 1 or more"),
            (
                self.cells > 0 and self.grid % self.cells == 0,
                f"model.cells {self.cells} must divide model.grid {self.grid}",
            ),
            (
                self.causal or (self.window > 0 and self.hop > 0 and self.window % self.hop == 0),
                f"model.window {self.window} must be a multiple of model.hop {self.hop} where model.causal is false",
            ),
            (not self.causal or not self.window, "model.window is for networks with model.causal=false"),
            (
                self.network == "patch" or not self.causal,
                "model.network=conv3d sees both ways in time: set model.causal=false and model.window",
            ),
            (
                self.network == "patch" or self.outputs != "axes",
                "model.network=conv3d draws heatmaps: set model.outputs to joints, limbs or combined",
            ),
            (self.views == 1 or self.dims == 2, "model.views is for model.dims=2"),
            (
                self.views == 1 or self.outputs != "axes",
                "model.views draws heatmaps: set model.outputs to joints, limbs or combined",
            ),
            (
                self.quantizer != "fsq" or math.prod(self.fsq_levels) == self.vocabulary,
                f"the product of model.fsq_levels {list(self.fsq_levels)} must be model.vocabulary {self.vocabulary}",
            ),
            (
                self.network == "conv3d" or (self.token_channels > 0 and self.token_channels % HEAD == 0),
                f"model.token_channels must be a multiple of {HEAD}, the channels of a head, not {self.token_channels}",
            ),
            (
                self.outputs != "axes" or (self.joint_channels > 0 and self.joint_channels % HEAD == 0),
                f"model.joint_channels must be a multiple of {HEAD}, the channels of a head, not {self.joint_channels}",
            ),
            (self.levels == 1 or self.quantizer == "vq", "model.levels above 1 needs model.quantizer=vq"),
            (self.levels >= 1, f"model.levels must be 1 or more, not {self.levels}"),
        ):
            if not sound:
                raise ValueError(what)
        if self.network == "conv3d":
            self._check_strides()

    def _check_strides(self) -> None:
        """Raise ValueError where the levels of the Conv3d network, each halving or not, do not make up the strides."""
        strides = (self.hop, self.grid // self.cells)
        if any(stride & (stride - 1) for stride in strides):
            raise ValueError(f"model.network=conv3d needs strides that are powers of two, not {strides}")
        levels = max(strides).bit_length() + 1
        if len(self.conv_channels) < levels:
            raise ValueError(f"model.conv_channels needs {levels} entries or more for these strides")
