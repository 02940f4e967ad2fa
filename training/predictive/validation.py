"""A quick look at a predictive network in training: its error on unseen recordings, by the ids of a hop."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from stream.motion.clips import Clip
from training.data.dataset import read_clips
from training.data.windows import Window, boxed
from training.evaluation.roundtrip import at_clock_rate, long_enough
from training.predictive.config import PredictiveConfig, PredictiveTrainConfig
from training.predictive.network import PredictiveNetwork, State

EVERY = 5
"""Every fifth recording is looked at. The figures to quote are those of training.evaluate, on all of them."""

SHARES = (1 / 3, 2 / 3, 1.0)
"""Of the levels, that a look is taken with."""


def read_sets(config: PredictiveTrainConfig) -> dict[str, list[Window]]:
    """Read what a run is looked at with, by path: recordings, the longest first.

    Raises FileNotFoundError or ValueError where there is none.
    """
    c, root = config.model, Path(config.data.root)
    found = {}
    for path in config.data.validate:
        windows = [_window(clip, c) for clip in long_enough(read_clips(root / path), c.hop)[::EVERY]]
        found[path] = sorted(windows, key=lambda window: -window.boxes.shape[1])
    return found


def _window(clip: Clip, c: PredictiveConfig) -> Window:
    """Return a recording as it enters the network."""
    joints, known = at_clock_rate(clip, c.dims, heading=0.0)
    whole = len(joints) // c.hop * c.hop
    return boxed(joints[None, :whole], known[None, :whole].astype(np.float32), joints[None, :whole], c.hop)


@torch.no_grad()
def look(network: PredictiveNetwork, sets: Mapping[str, Sequence[Window]]) -> dict[str, dict[str, float]]:
    """Return the mean error of known joints, cm, on each set, by the number of ids of a hop."""
    levels = sorted({max(1, round(share * network.config.levels)) for share in SHARES})
    return {
        name: {f"joint_error_cm_{count}_ids": error_cm(network, windows, count) for count in levels}
        for name, windows in sets.items()
    }


def error_cm(network: PredictiveNetwork, windows: Sequence[Window], levels: int) -> float:
    """Return the mean error of known joints, cm, of recordings, the longest first, coded with so many ids a hop."""
    c, device = network.config, network.mean.device
    state, errors = State.fresh(len(windows), c, device), []
    for hop in range(windows[0].boxes.shape[1]):
        going = [window for window in windows if window.boxes.shape[1] > hop]
        part = slice(hop * c.hop, (hop + 1) * c.hop)
        keypoints = torch.from_numpy(np.concatenate([window.keypoints[:, part] for window in going])).to(device)
        box = torch.from_numpy(np.concatenate([window.boxes[:, hop] for window in going])).to(device)
        count = torch.full((len(going),), float(levels), device=device)
        state = state.first(len(going))
        _, joints, state = network.encode_step(keypoints, box, count, torch.zeros_like(count), state)
        apart = (joints - keypoints[..., :-1]).square().sum(dim=-1).sqrt() * box[:, -1, None, None]
        errors.append(apart[keypoints[..., -1] > 0])
    return float(torch.cat(errors).mean())
