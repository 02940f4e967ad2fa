"""How near a run comes to what its device can do."""

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from training.config import TrainConfig
from training.run.checkpoint import build

SIDES = {"cpu": 1024, "cuda": 8192}
"""Rows and columns of the matrices whose product says what a device can do."""

PRODUCTS = 10


def flop_per_sample(config: TrainConfig, device: torch.device) -> float:
    """Return the floating-point operations of training on one window, two for each multiply-add.

    Three times those of encoder and decoder, as the backward pass costs two forward ones (Kaplan et al. 2020, arXiv
    2001.08361, section 2.1). Quantizer, optimiser and adversary are left out.
    """
    model = config.model
    network = build(config).to(device).eval()
    keypoints = torch.zeros(1, config.packets * model.packet, model.views * model.joints, model.dims + 1, device=device)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(keypoints, quantize=False)
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
