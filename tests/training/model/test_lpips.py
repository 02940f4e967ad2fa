"""LPIPS: equation 1 of its paper, weights that are not ours, and its part in a run."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from training.model.lpips import METRIC, NETWORK, Perceptual, pictures
from training.run.batches import BatchLoader, make_sampler
from training.run.trainer import Run
from training_samples import small_config, write_recordings

CONVOLUTIONS = {
    0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256),
    17: (256, 512), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512),
}  # fmt: skip
"""torchvision's numbers of VGG-16's convolutions."""
TAPS = (3, 8, 15, 22, 29)
POOLINGS = (4, 9, 16, 23)
WIDTHS = (64, 128, 256, 512, 512)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the names that the real ones have."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    network = {"classifier.0.bias": torch.zeros(8)}
    for number, (seen, channels) in CONVOLUTIONS.items():
        network[f"features.{number}.weight"] = torch.randn(channels, seen, 3, 3) * (2 / (9 * seen)) ** 0.5
        network[f"features.{number}.bias"] = torch.randn(channels) * 0.1
    torch.save(network, folder / NETWORK)
    torch.save(
        {f"lin{n}.model.1.weight": torch.rand(1, width, 1, 1) for n, width in enumerate(WIDTHS)}, folder / METRIC
    )
    return folder


def test_it_is_equation_1(weights: Path) -> None:
    torch.manual_seed(1)
    pair = torch.rand(2, 1, 32, 32)
    network, metric = torch.load(weights / NETWORK), torch.load(weights / METRIC)
    x = (2 * pair - 1 - torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)) / torch.tensor(
        [0.458, 0.448, 0.450]
    ).view(1, 3, 1, 1)
    expected = 0.0
    for layer in range(30):
        if layer in CONVOLUTIONS:
            x = F.conv2d(x, network[f"features.{layer}.weight"], network[f"features.{layer}.bias"], padding=1)
        elif layer in POOLINGS:
            x = F.max_pool2d(x, 2)
        else:
            x = x.relu()
        if layer in TAPS:
            features = x.double().numpy()
            unit = features / np.linalg.norm(features, axis=1, keepdims=True)
            scale = metric[f"lin{TAPS.index(layer)}.model.1.weight"].numpy()[0]
            expected += float((scale * (unit[0] - unit[1]) ** 2).sum(axis=0).mean())
    perceptual = Perceptual(weights)
    assert float(perceptual(pair[:1], pair[1:])) == pytest.approx(expected, rel=1e-4)
    assert float(perceptual(pair[:1], pair[:1])) == 0


def test_a_plane_is_one_picture() -> None:
    maps = torch.zeros(2, 6, 3, 16, 16)
    maps[1, 4, 2, 5, 7] = 1  # the second map of the second plane
    found = pictures(maps, planes=2)
    assert found.shape == (2 * 2 * 3, 1, 16, 16)
    assert found[(1 * 2 + 1) * 3 + 2, 0, 5, 7] == 1
    assert found.sum() == 1


def test_a_run_learns_by_it(weights: Path, tmp_path: Path) -> None:
    recordings = write_recordings(tmp_path)
    changes = ["losses.perceptual=0.5", f"losses.perceptual_weights={weights}"]
    plain, seeing = (small_config(tmp_path / "small.yaml", recordings, *more) for more in ([], changes))
    feed = BatchLoader(make_sampler(plain), plain)
    one, other = Run(plain, tmp_path / "one"), Run(seeing, tmp_path / "other")
    for step in range(2):
        without, terms = one.advance(feed), other.advance(feed)
        assert terms["perceptual"] > 0
        assert (terms["heatmap"] == without["heatmap"]) == (step == 0)  # the first step changed the network
    feed.close()


def test_weights_that_are_absent_or_others(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"vgg16-397923af\.pth is missing: .* of torchvision"):
        Perceptual(tmp_path)
    for name in (NETWORK, METRIC):
        torch.save(torch.load(weights / METRIC), tmp_path / name)
    with pytest.raises(ValueError, match="holds other weights"):
        Perceptual(tmp_path)
