"""How much is spent on a hop by tokenizers of which any first levels decode."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.spec import TokenizerSpec
from stream.motion.skeleton import Array


@dataclass(frozen=True, slots=True)
class Rate:
    """levels: how many a hop may take at most, 1 or more, None for all; quality: mean joint error in px or cm that is
    good enough, so that no more levels are used than bring it about, None for the best.

    Raises ValueError for numbers out of range.
    """

    levels: int | None = None
    quality: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.levels is not None and self.levels < 1:
            raise ValueError(f"levels {self.levels}: 1 or more")
        if self.quality is not None and not (math.isfinite(self.quality) and self.quality > 0):
            raise ValueError(f"quality {self.quality:g}: a mean joint error above 0, px or cm")

    def fit(self, spec: TokenizerSpec) -> "Rate":
        """Return the rate itself. Raises ValueError where a tokenizer cannot keep to it."""
        chosen = self.levels is not None or self.quality is not None
        if chosen and not spec.predictive:
            raise ValueError(f"{spec.name} always uses all of its levels: a rate is for predictive tokenizers")
        if self.levels is not None and self.levels > spec.token_grid[0]:
            raise ValueError(f"levels {self.levels}: {spec.name} has {spec.token_grid[0]}")
        return self

    def inputs(self, spec: TokenizerSpec, boxes: Sequence[Sequence[float]] | Array) -> dict[str, Any]:
        """Return what a predictive encoder is told for hops with these boxes: `levels` and `tolerance`, [B] each."""
        sides = np.asarray(boxes, np.float32)[:, -1]
        most = spec.token_grid[0] if self.levels is None else self.levels
        tolerance = np.zeros_like(sides) if self.quality is None else np.float32(self.quality) / sides
        return {"levels": np.full(len(sides), most, np.float32), "tolerance": tolerance}

    def __str__(self) -> str:
        """Say it for people."""
        levels = "all levels" if self.levels is None else f"at most {self.levels} levels"
        return levels if self.quality is None else f"{levels}, no more than an error of {self.quality:g} asks for"


FULL = Rate()
"""All levels of every hop."""
