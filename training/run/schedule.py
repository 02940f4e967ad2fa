"""How rates and temperatures go along with the steps of a run."""

import math

from training.config import OptimConfig


def learning_rate(step: int, optim: OptimConfig) -> float:
    """Linear rise, then a cosine down to the last rate."""
    if step < optim.rise_steps:
        return optim.rate * (step + 1) / optim.rise_steps
    along = (step - optim.rise_steps) / max(1, optim.steps - optim.rise_steps)
    return optim.last_rate + (optim.rate - optim.last_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, along)))


def temperature(step: int, optim: OptimConfig) -> float:
    """Exponential fall of the dVAE's temperature over the first three quarters of the steps, then the last one."""
    along = min(1.0, step / max(1.0, 0.75 * optim.steps))
    return optim.temperature * (optim.last_temperature / optim.temperature) ** along
