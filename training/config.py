"""What a training run is made of: a YAML file over typed defaults, then key=value pairs over the file.

A file may stand on others: `base: FILE` (or a list of files, later ones over earlier ones), relative to itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from engine.errors import UsageError
from training.data.windows import AugmentConfig
from training.model.config import ModelConfig
from training.model.discriminator import AdversaryConfig
from training.model.losses import LossConfig

PLACES = {
    "": ("runs", "name", "save_every", "validate_every"),
    "data": ("root", "workers"),
    "optim": ("threads", "device"),
}
"""Keys, by section, that say where and how comfortably a row is trained, and change no result."""

C = TypeVar("C")

CONFIGS = Path(__file__).parent / "configs"
"""Configurations that ship."""


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
    hops: int = 5  # per window of a causal network; others take model.window
    batch: int = 8  # windows per step and device
    workers: int = 1  # threads, of a predictive run processes, that draw windows ahead; 0: drawn in between
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
    temperature: float = 1.0  # dVAE: of the sampling at the first step
    last_temperature: float = 0.0625  # and from three quarters of the steps on
    bfloat16: bool = True
    compile: bool = False  # let torch compile encoder and decoder: a minute, then a tenth faster on a CPU
    device: str = "auto"  # a GPU where there is one, else the CPU
    threads: int = 0  # 0: as many as the machine has


@dataclass
class TrainConfig:
    """A training run."""

    name: str = "tokenizer"
    seed: int = 0
    runs: str = "runs"
    start_from: str = ""  # a run, or a tokenizer by name or directory, whose weights to begin with where they fit
    save_every: int = 200
    validate_every: int = 500
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    adversary: AdversaryConfig = field(default_factory=AdversaryConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)

    @property
    def packets(self) -> int:
        """Packets per training window."""
        return self.data.hops if self.model.causal else 1

    @property
    def tokens_per_step(self) -> int:
        """Tokens of each level that one step on one device rounds."""
        return self.data.batch * self.packets * self.model.steps * self.model.places

    def check(self) -> None:
        """Raise ValueError, naming the key, where the parts do not go together."""
        self.model.check()
        o, data = self.optim, self.data
        for sound, what in (
            (data.hops > 0, f"data.hops must be 1 or more, not {data.hops}"),
            (data.batch > 0, f"data.batch must be 1 or more, not {data.batch}"),
            (data.workers >= 0, f"data.workers must be 0 or more, not {data.workers}"),
            (all(group.share > 0 for group in data.train), "data.train: every share must be above 0"),
            (o.steps > 0, f"optim.steps must be 1 or more, not {o.steps}"),
            (
                0 <= o.plain_steps < o.steps,
                f"optim.plain_steps must be 0 to below optim.steps={o.steps}, not {o.plain_steps}: the codebook would "
                "never begin",
            ),
            (o.rate > 0, f"optim.rate must be above 0, not {o.rate}"),
            (min(self.save_every, self.validate_every) > 0, "save_every and validate_every must be 1 or more"),
        ):
            if not sound:
                raise ValueError(what)
        frames = self.packets * self.model.packet
        if self.adversary.weight > 0 and min(frames, self.adversary.frames) < 2**self.adversary.layers:
            raise ValueError(
                f"adversary.layers={self.adversary.layers} needs {2**self.adversary.layers} frames: raise "
                "adversary.frames, or the window with data.hops or model.window"
            )


@contextmanager
def refusing() -> Iterator[None]:
    """Turn what configurations and recordings are refused with into a UsageError, a command's one line."""
    try:
        yield
    except (OSError, ValueError, OmegaConfBaseException) as error:
        raise UsageError(str(error)) from error


def shipped_configs() -> list[str]:
    """Return the names of the configurations that ship, those of sweeps left out."""
    names = (file.relative_to(CONFIGS).with_suffix("").as_posix() for file in sorted(CONFIGS.rglob("*.yaml")))
    return [name for name in names if not name.startswith("sweeps/")]


def find_config(name: str) -> Path:
    """Return a configuration's file: a file as it is, else the one of that name that ships."""
    shipped = CONFIGS / f"{name}.yaml"
    return shipped if shipped.is_file() and not Path(name).is_file() else Path(name)


def load_config(file: Path, changes: list[str]) -> TrainConfig:
    """Read a run's configuration; unknown keys and wrong types are errors that name the key.

    Raises FileNotFoundError, ValueError or OmegaConfBaseException.
    """
    return typed(read_layers(file), changes)


def read_layers(file: Path, seen: tuple[Path, ...] = ()) -> DictConfig:
    """Return a YAML file merged over the files that it names as its `base`."""
    if file.resolve() in seen:
        raise ValueError(f"{file} is its own base")
    try:
        own = OmegaConf.load(file)
    except (YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from None
    except IsADirectoryError:
        raise ValueError(f"{file} is a folder: name a YAML file") from None
    if not isinstance(own, DictConfig):
        raise ValueError(f"{file} must hold keys and values")
    return over_bases(own, file.parent, (*seen, file.resolve()))


def over_bases(own: DictConfig, folder: Path, seen: tuple[Path, ...] = ()) -> DictConfig:
    """Return keys and values merged over the files that they name as their `base`, relative to a folder."""
    bases = own.pop("base", [])
    layers = [read_layers(folder / base, seen) for base in ([bases] if isinstance(bases, str) else bases)]
    return cast(DictConfig, OmegaConf.merge(*layers, own))


def typed(layers: DictConfig, changes: list[str]) -> TrainConfig:
    """Put keys and values, then key=value pairs, over the defaults, and check them."""
    config = merged(TrainConfig, layers, changes)
    config.check()
    return config


def merged(schema: type[C], layers: DictConfig, changes: list[str]) -> C:
    """Put keys and values, then key=value pairs, over the defaults of a kind of configuration."""
    try:
        found = OmegaConf.merge(OmegaConf.structured(schema), layers, OmegaConf.from_dotlist(changes))
        return cast(C, OmegaConf.to_object(found))
    except TypeError as error:
        raise ValueError(
            f"a key=value does not fit ({error}): lists are given whole, as in data.validate=[a,b]"
        ) from None


def save_config(config: object, file: Path) -> None:
    """Write every key of a run's configuration."""
    structured: Any = OmegaConf.structured(config)
    OmegaConf.save(structured, file)


def result_keys(config: object) -> dict[str, Any]:
    """Return the keys and values of a configuration that its result hangs on."""
    keys = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.structured(config)))
    for section, names in PLACES.items():
        for name in names:
            (keys[section] if section else keys).pop(name, None)
    return keys


def different(one: object, other: object) -> dict[str, tuple[Any, Any]]:
    """Return what counts and differs between two configurations, by dotted key."""
    flat, beside = _flat(result_keys(one)), _flat(result_keys(other))
    return {key: (value, beside[key]) for key, value in flat.items() if beside.get(key) != value}


def _flat(keys: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in keys.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
