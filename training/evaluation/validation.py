"""A quick look at a network in training: a few unseen recordings, their error in cm and a clip to look at."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.motion.clips import Clip
from stream.motion.clock import FPS
from training.config import TrainConfig
from training.data.dataset import read_clips
from training.evaluation.metrics import token_metrics
from training.evaluation.network_codec import JointCodec, NetworkCodec
from training.evaluation.roundtrip import long_enough, run_clip
from training.model.tokenizer import TokenizerNetwork

EVERY = 5
"""Every fifth recording is looked at. The figures to quote are those of training.evaluate, on all of them."""

FRAMES = 64
"""Length of the clip to look at, at 30 fps."""


def read_sets(config: TrainConfig) -> dict[str, list[Clip]]:
    """Read what a run is looked at with, by path: every fifth of the recordings that are as long as a packet.

    Raises FileNotFoundError or ValueError where there is none.
    """
    root, packet = Path(config.data.root), config.model.packet
    return {path: long_enough(read_clips(root / path), packet)[::EVERY] for path in config.data.validate}


def look(network: TokenizerNetwork, sets: Mapping[str, Sequence[Clip]]) -> dict[str, dict[str, float]]:
    """Return figures of a network on each set: the mean error of its joints, or of its maps, and the ids in use.

    The network is left in training mode.
    """
    c = network.config
    network.eval()
    found = {}
    for name, clips in sets.items():
        rng = np.random.default_rng(0)
        errors, tokens = [], []
        for clip in clips:
            if c.has_joints:
                track = run_clip(JointCodec(network), clip, c.dims, c.packet, rng, c.views)
            else:  # drawing every pixel takes long: the beginning must do
                track = run_clip(NetworkCodec(network), beginning(clip, c.packet), c.dims, c.packet, rng, c.views)
            tokens.append(track.tokens)
            if track.maps is None:
                errors.append(track.errors_cm[track.known])
            else:
                errors.append(np.abs(track.maps[0] - track.maps[1]).mean(axis=(0, 2, 3)))
        figure = "joint_error_cm" if c.has_joints else "l1"
        used = token_metrics(np.concatenate(tokens), c.vocabulary, hops_per_second=1.0)["vocabulary_used"]
        found[name] = {figure: float(np.concatenate(errors).mean()), "vocabulary_used": used}
    network.train()
    return found


def beginning(clip: Clip, packet: int) -> Clip:
    """Return the first `FRAMES` frames at 30 fps, or what there is, at least one packet's."""
    frames = max(FRAMES // packet, 1) * packet
    return clip.part(0, int((frames + 1) * clip.fps / FPS) + 2)


def film(network: TokenizerNetwork, clip: Clip) -> NDArray[np.uint8]:
    """Return pictures of the start of a recording: what goes in, what comes out and the difference, [T, H, W].

    The planes of a 3D body, or the cameras, are above each other.
    """
    c = network.config
    network.eval()
    start = beginning(clip, c.packet)
    track = run_clip(NetworkCodec(network), start, c.dims, c.packet, np.random.default_rng(0), c.views)
    network.train()
    assert track.maps is not None
    truth, decoded = track.maps
    rows = np.concatenate([truth, decoded, np.abs(truth - decoded)], axis=-1)  # [P, T, G, 3 G]
    pictures = np.concatenate(list(rows), axis=1)
    return (255 * pictures.clip(0, 1)).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)
