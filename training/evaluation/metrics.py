"""How good decoded motion is: pictures of heatmaps, places and movement of joints, and what the tokens cost.

Everything counts in float64. Pictures are maps [C, T, H, W] in 0..1: C maps of T frames. The motion of one person is
[T, 17, D] in cm.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage import metrics

Floats = NDArray[np.float64]

KERNEL, KERNEL_SIGMA = 11, 1.5
"""Width and standard deviation, in pixels, of the Gaussian that SSIM looks through (Wang et al. 2004, III-B)."""

FAINTEST = 1e-12
"""Least mean square error that PSNR counts, 120 dB; of equal pictures it would be infinite."""

WINDOW = 64
"""Frames over which the paper's tables take each series."""

NEAR = 0.05
"""A joint is decoded correctly when it is within this share of the box's side."""


@dataclass(frozen=True)
class Series:
    """One value per frame, float64 [T], of a window. ssim_maps: [C, T], of each map by itself."""

    psnr: Floats
    ssim: Floats
    l1: Floats
    ssim_maps: Floats


def series(truth: ArrayLike, decoded: ArrayLike) -> Series:
    """Return PSNR in dB, SSIM and L1 of every frame, over all its maps. truth, decoded: [C, T, H, W].

    As the code published with arXiv 2509.19252 does it: values are clipped to 0..1; the mean square error and the
    mean distance of a frame are over all maps and pixels; PSNR = -10 log10 of the former; the SSIM of a frame is the
    mean of its maps'.

    Raises ValueError where the shapes differ or a picture is smaller than SSIM's window.
    """
    one, other = (np.clip(np.asarray(maps, np.float64), 0.0, 1.0) for maps in (truth, decoded))
    if one.shape != other.shape or one.ndim != 4 or min(one.shape[2:]) < KERNEL:
        raise ValueError(
            f"maps must be two [C, T, H, W] of {KERNEL} pixels a side or more: {one.shape} and {other.shape}"
        )
    difference = one - other
    square = (difference**2).mean(axis=(0, 2, 3))
    maps = structural_similarity(one, other)
    return Series(
        psnr=-10 * np.log10(np.maximum(square, FAINTEST)),
        ssim=maps.mean(axis=0),
        l1=np.abs(difference).mean(axis=(0, 2, 3)),
        ssim_maps=maps,
    )


def structural_similarity(one: Floats, other: Floats) -> Floats:
    """Return the mean SSIM of pairs of pictures in 0..1: [C, T, H, W] twice -> [C, T].

    Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to Structural Similarity",
    2004, equation 13: Gaussian window of 11 pixels with sigma 1.5, biased variances, only where the window lies
    inside the picture. (The paper's code calls piq, whose defaults these are; it would halve pictures of 384 pixels
    and more first.)
    """

    def of_pair(a: Floats, b: Floats) -> float:
        return float(
            metrics.structural_similarity(
                a, b, data_range=1.0, gaussian_weights=True, sigma=KERNEL_SIGMA, use_sample_covariance=False
            )
        )

    return np.array([[of_pair(*pair) for pair in zip(*maps, strict=True)] for maps in zip(one, other, strict=True)])


def instability(values: Floats) -> float:
    """Return the standard deviation (over n - 1) of a series after its minimum and maximum are put at 0 and 1.

    0 for a series that does not change or has fewer than two frames.
    """
    span = float(np.ptp(values)) if len(values) > 1 else 0.0
    return float(((values - values.min()) / span).std(ddof=1)) if span > 0 else 0.0


def picture_metrics(truth: ArrayLike, decoded: ArrayLike) -> dict[str, float]:
    """Return `ssim`, `psnr`, `l1`, `t_std` and `t_std_published` of one window [C, T, H, W].

    The first three are means over the frames. T-Std, the temporal instability of arXiv 2509.19252, is the mean of the
    `instability` of the PSNR, SSIM and L1 series. `t_std_published` is what the code published with the paper
    computes: with several maps its SSIM series joins values of neighbouring frames of one map instead of the maps of
    one frame (it views [B, C, F] as [B, F, C]); with one map both are the same.
    """
    s = series(truth, decoded)
    regrouped = s.ssim_maps.reshape(s.ssim_maps.shape[::-1]).mean(axis=1)
    psnr, l1 = instability(s.psnr), instability(s.l1)
    return {
        "ssim": float(s.ssim.mean()),
        "psnr": float(s.psnr.mean()),
        "l1": float(s.l1.mean()),
        "t_std": (psnr + instability(s.ssim) + l1) / 3,
        "t_std_published": (psnr + instability(regrouped) + l1) / 3,
    }


def joint_errors(truth: ArrayLike, decoded: ArrayLike) -> Floats:
    """Return the Euclidean distance of every joint: [T, 17, D] twice -> [T, 17], in their unit.

    Its mean is the mean per joint position error, without any alignment (Ionescu et al., "Human3.6M", 2014, 4.1).
    """
    return np.asarray(np.linalg.norm(np.asarray(decoded, np.float64) - np.asarray(truth, np.float64), axis=-1))


def correct_keypoints(errors: ArrayLike, side: ArrayLike) -> NDArray[np.bool_]:
    """Return which joints are within `NEAR` of the side of their box: errors [T, 17], side [T, 17] -> [T, 17].

    PCK as Yang and Ramanan define it ("Articulated Human Detection with Flexible Mixtures of Parts", 2013, 5.2), the
    box here being the square one that the tokenizer sees.
    """
    return np.asarray(errors, np.float64) <= NEAR * np.asarray(side, np.float64)


def motion_errors(truth: ArrayLike, decoded: ArrayLike, order: int, fps: float) -> Floats:
    """Return how far the derivative of that order of each joint's path is off: [T, 17, D] -> [T - order, 17].

    Order 1 is the velocity (the MPJVE of Pavllo et al., "3D human pose estimation in video with temporal convolutions",
    2019), order 3 the jerk (Flash and Hogan 1985 take it as the measure of smoothness), as finite differences of
    frames that follow each other, per second to the power of the order.
    """
    difference = np.asarray(decoded, np.float64) - np.asarray(truth, np.float64)
    return np.asarray(np.linalg.norm(np.diff(difference, n=order, axis=0), axis=-1) * fps**order)


def entropy(counts: ArrayLike) -> float:
    """Return the entropy, in bits, of the distribution with these counts (Shannon 1948)."""
    share = np.asarray(counts, np.float64).ravel()
    share = share[share > 0] / share.sum()
    return float(-(share * np.log2(share)).sum())


def token_metrics(tokens: NDArray[np.integer], vocabulary: int, hops_per_second: float) -> dict[str, float]:
    """Return the cost and the use of tokens [hops, L, ...], one person's stream after another's.

    L: levels of residual quantization, each with a codebook of its own, else 1. vocabulary_used: how many ids
    occur; perplexity: 2 to the entropy of all ids together, the size of an evenly used vocabulary of the same entropy
    (van den Oord et al. 2017 report it), both the mean over the levels; tokens_per_second; bits_per_second: raw, whole
    bits per id; bits_per_second_entropy: the same under an ideal coder that knows, for every place of the grid by
    itself, how often each id occurs there in this very set, and nothing of the past (first-order entropy per place).
    Telling the coder these frequencies is not counted, so short recordings look cheaper than they are.
    Tokens of -1 are levels that are left out: they cost nothing, but where hops differ in levels, how many there are
    does, in whole bits and under the ideal coder.

    Raises ValueError where there is no hop or a token beyond the vocabulary.
    """
    flat = tokens.reshape(len(tokens), int(np.prod(tokens.shape[1:]))).astype(np.int64)
    if not flat.size or not -1 <= flat.min() <= flat.max() < vocabulary:
        raise ValueError(f"tokens must be some ids in 0..{vocabulary - 1}")
    there = (flat >= 0).sum(axis=1)
    places, told = float(there.mean()), tokens.shape[1].bit_length() if np.ptp(there) else 0
    levels = [np.bincount(level[level >= 0], minlength=vocabulary) for level in np.moveaxis(tokens, 1, 0)]
    levels = [counts for counts in levels if counts.any()]
    per_hop = sum(entropy(np.unique(column, return_counts=True)[1]) for column in flat.T)
    return {
        "vocabulary_used": float(np.mean([(counts > 0).sum() for counts in levels] or 0)),
        "perplexity": float(np.mean([2 ** entropy(counts) for counts in levels] or 1)),
        "tokens_per_second": places * hops_per_second,
        "bits_per_second": (places * (vocabulary - 1).bit_length() + told) * hops_per_second,
        "bits_per_second_entropy": per_hop * hops_per_second,
    }


def mean_of(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each figure over rows that have the same ones."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}
