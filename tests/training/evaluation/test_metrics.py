"""Metrics against other people's code and against sums done by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from stream.motion.heatmap import draw
from training.evaluation import metrics

SEEDS = st.integers(0, 2**32 - 1)


def pictures(seed: int, maps: int = 2, frames: int = 5, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian heatmaps and noisy ones, some values beyond 0..1."""
    rng = np.random.default_rng(seed)
    keypoints = np.ones((1, frames, maps, 3), np.float32)
    keypoints[..., :2] = rng.uniform(0.2, 0.8, (1, frames, maps, 2))
    truth = draw(keypoints, size, 2.0)[0].astype(np.float64)
    return truth, truth * rng.uniform(0.5, 1.2) + 0.1 * rng.standard_normal(truth.shape)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_ssim_psnr_and_l1_are_scikit_images(seed: int) -> None:
    truth, decoded = pictures(seed)
    clipped = decoded.clip(0, 1)
    found = metrics.series(truth, decoded)
    for frame in range(truth.shape[1]):
        expected = [
            structural_similarity(
                truth[c, frame],
                clipped[c, frame],
                data_range=1,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            for c in range(len(truth))
        ]
        np.testing.assert_allclose(found.ssim_maps[:, frame], expected, atol=1e-9)
        np.testing.assert_allclose(found.ssim[frame], np.mean(expected), atol=1e-9)
        psnr = peak_signal_noise_ratio(truth[:, frame], clipped[:, frame], data_range=1)
        np.testing.assert_allclose(found.psnr[frame], psnr)
        np.testing.assert_allclose(found.l1[frame], np.abs(truth[:, frame] - clipped[:, frame]).mean())


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, maps=st.integers(1, 3))
def test_t_std_is_the_published_one_step_by_step_in_torch(seed: int, maps: int) -> None:
    truth, decoded = pictures(seed, maps, frames=9)
    one, other = (torch.from_numpy(each).clip(0, 1)[None] for each in (truth, decoded))
    square = ((one - other) ** 2).mean(dim=(0, 1, 3, 4))
    psnr, l1 = -10 * torch.log10(square), (one - other).abs().mean(dim=(0, 1, 3, 4))
    images = [each.reshape(-1, *each.shape[3:]).numpy() for each in (one, other)]  # b, c, f flattened
    how = {"data_range": 1, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    flat = torch.tensor([structural_similarity(a, b, **how) for a, b in zip(*images, strict=True)])
    by_frame, regrouped = flat.view(maps, 9).mean(dim=0), flat.view(1, 9, maps).mean(dim=(0, 2))

    def spread(values: torch.Tensor) -> float:
        return float(((values - values.min()) / (values.max() - values.min())).std())

    found = metrics.picture_metrics(truth, decoded)
    np.testing.assert_allclose(found["t_std"], np.mean([spread(v) for v in (psnr, by_frame, l1)]))
    np.testing.assert_allclose(found["t_std_published"], np.mean([spread(v) for v in (psnr, regrouped, l1)]))
    if maps == 1:
        assert found["t_std"] == found["t_std_published"]


def test_equal_pictures_are_perfect_and_steady() -> None:
    truth, _ = pictures(0)
    found = metrics.picture_metrics(truth, truth)
    expected = {"ssim": 1.0, "psnr": 120.0, "l1": 0.0, "t_std": 0.0, "t_std_published": 0.0}
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape", [(1, 2, 8, 8), (2, 32, 32), (1, 2, 32, 16)])
def test_pictures_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="maps must be"):
        metrics.series(np.zeros(shape), np.zeros((1, 2, 32, 32) if shape[-1] == 16 else shape))


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, dims=st.sampled_from([2, 3]))
def test_joint_and_motion_errors_are_the_norms_of_differences(seed: int, dims: int) -> None:
    rng = np.random.default_rng(seed)
    truth, decoded = rng.normal(size=(2, 7, 17, dims))
    found = metrics.joint_errors(truth, decoded)
    off = decoded - truth
    np.testing.assert_allclose(found, np.sqrt((off**2).sum(axis=-1)))
    velocity = metrics.motion_errors(truth, decoded, 1, 30.0)
    jerk = metrics.motion_errors(truth, decoded, 3, 30.0)
    assert velocity.shape == (6, 17)
    assert jerk.shape == (4, 17)
    for t in range(4):
        by_hand = off[t + 3] - 3 * off[t + 2] + 3 * off[t + 1] - off[t]
        np.testing.assert_allclose(jerk[t], 27000 * np.sqrt((by_hand**2).sum(axis=-1)))
        np.testing.assert_allclose(velocity[t], 30 * np.sqrt(((off[t + 1] - off[t]) ** 2).sum(axis=-1)))


def test_a_joint_is_correct_within_a_twentieth_of_its_box() -> None:
    errors = np.array([[4.9, 5.0, 5.1], [4.9, 5.0, 5.1]])
    np.testing.assert_array_equal(
        metrics.correct_keypoints(errors, np.array([[100.0], [98.0]])), [[True, True, False], [True, False, False]]
    )


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_tokens_cost_what_scipy_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 1 + rng.integers(1, 500), (20, 1, 1, 2, 2))
    found = metrics.token_metrics(tokens, 512, hops_per_second=3.75)
    _, counts = np.unique(tokens, return_counts=True)
    np.testing.assert_allclose(found["perplexity"], np.exp(scipy_entropy(counts)))
    assert found["vocabulary_used"] == len(counts)
    assert found["tokens_per_second"] == 4 * 3.75
    assert found["bits_per_second"] == 4 * 9 * 3.75
    places = tokens.reshape(20, 4).T
    bits = sum(scipy_entropy(np.unique(column, return_counts=True)[1], base=2) for column in places)
    np.testing.assert_allclose(found["bits_per_second_entropy"], 3.75 * bits, atol=1e-12)
    assert found["bits_per_second_entropy"] <= found["bits_per_second"]


def test_every_level_has_a_vocabulary_of_its_own() -> None:
    tokens = np.stack([np.arange(64) % 4, np.arange(64) % 16], axis=1)[..., None]  # [hops, L, N]
    found = metrics.token_metrics(tokens, 16, hops_per_second=1.0)
    assert found["vocabulary_used"] == 10
    assert found["perplexity"] == pytest.approx(10)
    assert found["bits_per_second"] == 8
    assert found["bits_per_second_entropy"] == 6


@pytest.mark.parametrize("tokens", [np.zeros((0, 1, 4), int), np.full((3, 1, 4), 512), np.full((3, 1, 4), -2)])
def test_tokens_beyond_the_vocabulary_are_refused(tokens: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"ids in 0\.\.511"):
        metrics.token_metrics(tokens, 512, 3.75)
