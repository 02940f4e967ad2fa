"""The network of a training run as a codec: what it decodes are heatmaps, and joints where these show any."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stream.motion.clock import FPS
from stream.motion.skeleton import Array, J
from training.config import load_config
from training.evaluation.roundtrip import CodecInfo, Drawn, Tokens, combined
from training.model.config import ModelConfig
from training.model.heatmaps import draw_maps
from training.model.tokenizer import Reconstruction, TokenizerNetwork
from training.run.checkpoint import load_network, need_codebook

FRAMES = 64
"""Frames whose heatmaps are held in memory at once."""

WINDOWS = 4
"""Windows that a network which is not causal takes at once."""


class NetworkCodec:
    """A network as a codec. Its pictures are the heatmaps that it decodes itself, all maps of a plane as one."""

    def __init__(self, network: TokenizerNetwork) -> None:
        self.network = network

    def draw(self, keypoints: Array) -> Drawn:
        """See `training.evaluation.roundtrip.DrawingCodec`."""
        c = self.network.config
        x = torch.from_numpy(keypoints).to(next(self.network.parameters()).device)
        parts = [x] if c.causal else list(x[0].unflatten(0, (-1, c.packet)).split(WINDOWS))
        tokens, joints, truth, decoded = [], [], [], []
        with torch.inference_mode():
            for part in parts:
                out = self.network(part)
                tokens.append(by_level(out.tokens, c))
                joints.append(out.joints)
                truth.append(_pictures_of(part, c))
                decoded.append(_pictures_decoded(out, part.shape[1], c))
        found = None if joints[0] is None else torch.cat([each.flatten(0, 1) for each in joints]).cpu().numpy()[None]
        return Drawn(
            tokens=np.concatenate(tokens),
            joints=found,
            truth=np.concatenate(truth, axis=1),
            decoded=np.concatenate(decoded, axis=1),
        )


def by_level(tokens: Tensor, config: ModelConfig) -> Tokens:
    """Return a network's tokens [B, hops, N, L] by packet and level: [B * packets, L, hops of a packet * N]."""
    c = config
    return tokens.cpu().numpy().reshape(-1, c.steps * c.places, c.levels).swapaxes(1, 2)


def _pictures_of(keypoints: Tensor, config: ModelConfig) -> Array:
    """Return what should come out: [B, T, V * J, D + 1] -> [P, B * T, G, G]."""
    flat = keypoints.flatten(0, 1)
    if config.has_joints:
        views = flat.cpu().numpy().reshape(len(flat), -1, J, flat.shape[-1])
        return np.concatenate(
            [combined(views[:, view], config.grid, config.sigma) for view in range(views.shape[1])], axis=0
        )
    drawn = [draw_maps(part[None], "combined", config)[0] for part in flat.split(FRAMES)]
    return torch.cat(drawn, dim=1).cpu().numpy()


def _pictures_decoded(out: Reconstruction, frames: int, config: ModelConfig) -> Array:
    """Return what came out: heatmaps [B, M, T, G, G] -> [P, B * T, G, G]."""
    drawn = []
    for start in range(0, frames, FRAMES):
        maps = out.heatmaps(config.sigma, slice(start, start + FRAMES))
        drawn.append(maps.unflatten(1, (config.planes, -1)).amax(dim=2).float().cpu().numpy())
    # [B, P, T, G, G]: the windows follow each other in time.
    return np.concatenate(list(np.concatenate(drawn, axis=2)), axis=1)


def open_run(folder: Path) -> tuple[NetworkCodec, CodecInfo]:
    """Open the network of a training run as it was last saved.

    Raises TokenizerError where that is damaged or has no codebook yet.
    """
    network = load_network(folder)
    need_codebook(network, folder)
    if torch.cuda.is_available():
        network.cuda()
    c = network.config
    name = load_config(folder / "config.yaml", []).name
    return NetworkCodec(network), CodecInfo(name, c.dims, c.packet, c.grid, c.sigma, c.vocabulary, FPS, views=c.views)


class JointCodec:
    """A network whose joints alone are wanted: no heatmap is drawn, so whole recordings fit in memory."""

    def __init__(self, network: TokenizerNetwork) -> None:
        self.network = network

    def roundtrip(self, keypoints: Array, boxes: Array) -> tuple[Tokens, Array]:
        """See `training.evaluation.roundtrip.Codec`."""
        c = self.network.config
        x = torch.from_numpy(keypoints).to(next(self.network.parameters()).device)
        with torch.inference_mode():
            outs = [self.network(part) for part in ([x] if c.causal else x.split(c.packet, dim=1))]
        joints = torch.cat([out.joints for out in outs], dim=1)
        return np.concatenate([by_level(out.tokens, c) for out in outs]), joints.cpu().numpy()
