"""Which pose estimator looks at images."""

from dataclasses import dataclass
from typing import Literal

from stream.errors import PoseModelError
from stream.motion.projection import Dims

PoseChoice = Literal["auto", "movenet", "mediapipe"]

Focal = float | Literal["guess"]
"""Focal length of a camera, px of its pictures, or that it is not known."""

STEP = 32
"""Sides of what MoveNet takes are multiples of it, px."""

LARGEST = 1280
"""Longer side, px, at which MoveNet looks at most: it takes a quarter of a second there."""


@dataclass(frozen=True)
class PeopleFinder:
    """How people are found in images, as the flags --pose, --pose-size, --pose-model and --max-persons say."""

    pose: PoseChoice = "auto"
    size: int | None = None
    model: str | None = None
    max_persons: int | None = None
    fps: float | None = None  # of the clock that the poses go to


def choose(pose: PoseChoice, dims: Dims, pose_model: str | None) -> tuple[Literal["movenet", "mediapipe"], str]:
    """Return the pose estimator and why it is that one. Raises PoseModelError when it does not fit."""
    if pose == "mediapipe":
        return "mediapipe", "as asked"
    if pose == "movenet":
        if dims == "3d":
            raise PoseModelError("movenet gives 2D poses only: use --pose mediapipe, or a 2D tokenizer")
        if pose_model is not None:
            raise PoseModelError("--pose-model is for mediapipe: leave it out, or use --pose mediapipe")
        return "movenet", "as asked"
    if dims == "3d":
        return "mediapipe", "auto: it gives 3D poses"
    if pose_model is not None:
        return "mediapipe", "auto: --pose-model is its model"
    return "movenet", "auto: more exact in 2D, everybody in one pass"


def check_pose_size(size: int | None) -> None:
    """Raise ValueError for a size that MoveNet does not take."""
    if size is not None and (size % STEP or not STEP * 4 <= size <= LARGEST):
        raise ValueError(f"--pose-size {size}: a multiple of {STEP} from {STEP * 4} to {LARGEST}")
