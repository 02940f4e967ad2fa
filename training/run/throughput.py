"""How near a run comes to what its device can do."""

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from training.config import TrainConfig
from training.run.checkpoint import build

SIDES = {"cpu": 1024, "cuda": 8192}
"""Rows and columns of the matrices whose product says what a device can do."""

PRODUCTS = 10


def flop_per_sample(config: TrainConfig, device: torch.device) -> float:
    """Return the floating-point operations of training on one window, without quantizer, optimiser and adversary."""
    model = config.model
    network = build(config).to(device).eval()
    keypoints = torch.zeros(1, config.packets * model.packet, model.views * model.joints, model.dims + 1, device=device)
    return flop_of(lambda: network(keypoints, quantize=False))


def flop_of(forward: Callable[[], object]) -> float:
    """Return the floating-point operations of training with a forward pass, two for each multiply-add.

    Three times those of the pass, as the backward pass costs two forward ones (Kaplan et al. 2020, arXiv 2001.08361,
    section 2.1).
    """
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        forward()
    return 3.0 * counter.get_total_flops()


def peak(device: torch.device, precision: torch.dtype) -> float:
    """Return the operations a second of a large matrix product, the fastest of ten."""
    side = SIDES.get(device.type, 1024)
    matrix = torch.ones(side, side, dtype=precision, device=device)
    fastest = float("inf")
    for _ in range(PRODUCTS):
        _wait(device)
        start = time.perf_counter()
        matrix @ matrix
        _wait(device)
        fastest = min(fastest, time.perf_counter() - start)
    return 2 * side**3 / fastest


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
