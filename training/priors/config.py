"""What a training run of a prior is made of."""

from dataclasses import dataclass, field

from training.config import DataConfig


@dataclass
class PriorConfig:
    """Sizes, steps and rates of a prior."""

    hidden: int = 512  # of the memory from hop to hop
    width: int = 512  # of the layers that every level shares
    depth: int = 2
    steps: int = 1500
    rate: float = 2e-3
    rise_steps: int = 100
    weight_decay: float = 0.05
    clip: float = 1.0
    average: float = 0.995  # weights that are kept are a running mean
    seed: int = 0
    device: str = "auto"  # a GPU where there is one
    data: DataConfig = field(default_factory=lambda: DataConfig(hops=12, batch=48, workers=0))
