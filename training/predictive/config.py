"""What a training run of a predictive tokenizer is made of."""

from dataclasses import dataclass, field
from pathlib import Path

from stream.motion.skeleton import J
from training.config import DataConfig, merged, read_layers

PAST = 2
"""Decoded hops that the fitted linear prediction begins with."""

ECHO = 2
"""Hops whose codes an anchor is made from."""

REST = 24
"""Frames without an id after which a hop has one, whatever quality is asked for."""

KIND = "predictive"
"""Of a configuration, in its key `kind`: it trains such a tokenizer."""


@dataclass
class PredictiveConfig:
    """Sizes of a predictive tokenizer."""

    dims: int = 2
    hop: int = 8  # frames
    past: int = 3  # decoded hops that a prediction is made from
    levels: int = 12  # ids of a hop at most
    vocabulary: int = 1024  # ids of a level
    rank: int = 96  # directions in which coordinates are coded; presence has its own
    width: int = 768
    depth: int = 3  # residual layers
    refine: int = 512  # width of the refinement, and of what makes the anchor

    @property
    def coordinates(self) -> int:
        """Numbers of a hop that are coordinates."""
        return self.hop * J * self.dims

    @property
    def size(self) -> int:
        """V: numbers of a hop."""
        return self.coordinates + J

    @property
    def directions(self) -> int:
        """K: directions in which a hop is coded."""
        return self.rank + J

    @property
    def states(self) -> dict[str, tuple[int, ...]]:
        """Sizes of one stream's state, by name."""
        return {
            "past": (self.past, self.size),
            "box": (self.dims + 1,),
            "missing": (1,),
            "idle": (1,),
            "sums": (ECHO, self.directions),
            "share": (ECHO,),
        }

    @property
    def rest(self) -> int:
        """Hops in a row that may have no id."""
        return max(1, REST // self.hop)


@dataclass
class PredictiveOptimConfig:
    """Steps, rates and what is asked of the network beside the places of joints."""

    steps: int = 5000
    rate: float = 1.5e-3
    rise_steps: int = 200
    weight_decay: float = 0.05
    clip: float = 1.0
    code_rate: float = 3.0  # of the codebooks, as a multiple
    fitted_rate: float = 0.1  # of the basis and the linear prediction
    average: float = 0.998  # weights that are kept are a running mean
    velocity: float = 0.5  # weight of the error of joints' velocities
    coarse: float = 0.5  # weight of the error with fewer levels
    unaided: float = 1.0  # weight of the error of the forecast
    anchor: float = 0.1  # weight of the error of the anchor
    beam: int = 2  # choices that the search follows; live it follows more
    device: str = "auto"  # a GPU where there is one
    bfloat16: bool = True
    threads: int = 0  # 0: as many as the machine has


@dataclass
class PredictiveTrainConfig:
    """A training run of a predictive tokenizer."""

    kind: str = KIND
    name: str = "predictive"
    seed: int = 0
    runs: str = "runs"
    start_from: str = ""  # a run of the same sizes, with whose weights to begin
    save_every: int = 250
    validate_every: int = 1000
    model: PredictiveConfig = field(default_factory=PredictiveConfig)
    data: DataConfig = field(default_factory=lambda: DataConfig(hops=6, batch=192, workers=0))
    optim: PredictiveOptimConfig = field(default_factory=PredictiveOptimConfig)

    def check(self) -> None:
        """Raise ValueError, naming the key, for a value out of range."""
        m, o, data = self.model, self.optim, self.data
        for sound, what in (
            (m.dims in (2, 3), f"model.dims must be 2 or 3, not {m.dims}"),
            (1 <= m.hop <= 64, f"model.hop must be 1 to 64, not {m.hop}"),
            (m.past >= PAST, f"model.past must be {PAST} or more, not {m.past}"),
            (m.levels >= 1, f"model.levels must be 1 or more, not {m.levels}"),
            (2 <= m.vocabulary <= 65536, f"model.vocabulary must be 2 to 65536, not {m.vocabulary}"),
            (1 <= m.rank <= m.coordinates, f"model.rank must be 1 to {m.coordinates}, not {m.rank}"),
            (min(m.width, m.refine) >= 1 and m.depth >= 0, "model.width and model.refine must be 1 or more"),
            (data.hops >= 2, f"data.hops must be 2 or more, not {data.hops}"),
            (data.batch >= 1, f"data.batch must be 1 or more, not {data.batch}"),
            (bool(data.train), "data.train: name recordings"),
            (all(group.share > 0 for group in data.train), "data.train: every share must be above 0"),
            (o.beam >= 1, f"optim.beam must be 1 or more, not {o.beam}"),
            (o.steps >= 1 and o.rate > 0, "optim.steps must be 1 or more and optim.rate above 0"),
            (min(self.save_every, self.validate_every) > 0, "save_every and validate_every must be 1 or more"),
        ):
            if not sound:
                raise ValueError(what)


def is_predictive(file: Path) -> bool:
    """Whether a YAML file configures a predictive tokenizer. Raises what `read_layers` raises."""
    return bool(read_layers(file).get("kind") == KIND)


def load_config(file: Path, changes: list[str]) -> PredictiveTrainConfig:
    """Read a run's configuration; unknown keys and wrong types are errors that name the key."""
    config = merged(PredictiveTrainConfig, read_layers(file), changes)
    config.check()
    return config
