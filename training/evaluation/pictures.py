"""Heatmaps of whole bodies, as arXiv 2509.19252 judges them: all joints of a plane in one picture."""

from collections.abc import Iterator

import numpy as np

from stream.motion.heatmap import marginal, planes_of
from stream.motion.skeleton import Array
from training.evaluation.metrics import WINDOW
from training.evaluation.roundtrip import Track


def combined(keypoints: Array, grid: int, sigma: float) -> Array:
    """Return the largest of the joints' Gaussians at each pixel, plane by plane: [T, 17, D + 1] -> [P, T, G, G].

    P = 1 plane for D = 2, the three projections for D = 3. Equals the maximum over the joints of
    `stream.motion.heatmap.draw`, without drawing all of them.
    """
    planes = planes_of(keypoints.shape[-1] - 1)
    maps = np.zeros((len(planes), len(keypoints), grid, grid), np.float32)
    for picture, (column, row) in zip(maps, planes, strict=True):
        across = marginal(keypoints[..., column], grid, sigma) * keypoints[..., -1, None]
        down = marginal(keypoints[..., row], grid, sigma)
        for joint in range(keypoints.shape[1]):
            np.maximum(picture, down[:, joint, :, None] * across[:, joint, None, :], out=picture)
    return maps


def decoded_keypoints(track: Track) -> Array:
    """Return the decoded joints as keypoints [T, 17, D + 1]; those that did not go in are not judged and left out."""
    present = track.known[..., None].astype(np.float32)
    return np.concatenate([track.placed, np.ones_like(present)], axis=-1) * present


def windows(track: Track, grid: int, sigma: float) -> Iterator[tuple[Array, Array]]:
    """Yield the pictures of what went in and of what came out, [P, T, G, G] each, window by window of 64 frames.

    What came out is what the codec drew, else Gaussians at the joints that it decoded. A shorter recording is one
    window; of a longer one, what is left at the end is not judged.
    """
    out = decoded_keypoints(track)
    whole = len(track.truth) // WINDOW * WINDOW or len(track.truth)
    for start in range(0, whole, WINDOW):
        part = slice(start, min(start + WINDOW, whole))
        if track.maps is not None:
            yield track.maps[0][:, part], track.maps[1][:, part]
        else:
            yield combined(track.keypoints[part], grid, sigma), combined(out[part], grid, sigma)
