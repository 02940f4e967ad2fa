"""What a training run is made of: a YAML file over typed defaults, then key=value pairs over the file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from training.data.windows import AugmentConfig
from training.losses import LossConfig
from training.model.tokenizer import ModelConfig


@dataclass
class GroupConfig:
    """A set of recordings to train on and its share of the windows."""

    path: str = ""
    share: float = 1.0


@dataclass
class DataConfig:
    """Where motion comes from. Paths are relative to `root`."""

    root: str = "data"
    train: list[GroupConfig] = field(default_factory=list)
    validate: list[str] = field(default_factory=list)
    hops: int = 5  # per window
    batch: int = 8  # windows per step
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass
class OptimConfig:
    """Steps and rates."""

    steps: int = 4000
    plain_steps: int = 400  # as a plain autoencoder before the codebook is switched on
    rate: float = 1e-3
    last_rate: float = 1e-5
    rise_steps: int = 100
    weight_decay: float = 0.02
    clip: float = 1.0
    dead_share: float = 0.1  # codes used less than this share of the uniform are revived
    bfloat16: bool = True
    threads: int = 0  # 0: as many as the machine has


@dataclass
class TrainConfig:
    """A training run."""

    name: str = "tokenizer"
    seed: int = 0
    runs: str = "runs"
    save_every: int = 200
    validate_every: int = 500
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)


def load_config(file: Path, changes: list[str]) -> TrainConfig:
    """Read a run's configuration; unknown keys and wrong types are errors that name the key."""
    merged = OmegaConf.merge(OmegaConf.structured(TrainConfig), OmegaConf.load(file), OmegaConf.from_dotlist(changes))
    return cast(TrainConfig, OmegaConf.to_object(merged))


def save_config(config: TrainConfig, file: Path) -> None:
    """Write every key of a run's configuration."""
    structured: Any = OmegaConf.structured(config)
    OmegaConf.save(structured, file)
