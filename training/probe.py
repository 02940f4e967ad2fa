"""What tokens say of the motion: python -m training.probe TOKENIZER_OR_RUN --data PATH [PATH ...] [--json FILE].

A linear probe: can a logistic regression tell what a person does from how often each id occurs in a recording? Beside
it the same probe on the joints themselves.
"""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once(130)

import json
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from engine.command.cli import need_writable, run
from engine.session import Backend
from training.config import refusing
from training.evaluation.codecs import open_codec
from training.evaluation.metrics import Floats
from training.evaluation.roundtrip import Track
from training.evaluation.sets import run_sets

FOLDS = 5


def histogram(track: Track, vocabulary: int) -> Floats:
    """Return the share of every id of every level in a recording, float64 [L * vocabulary], wherever in the grid."""
    levels = np.moveaxis(track.tokens, 1, 0).astype(np.int64)
    counts = [np.bincount(level[level >= 0], minlength=vocabulary) for level in levels]
    return np.concatenate([each / max(1, each.sum()) for each in counts])


def joint_features(track: Track) -> Floats:
    """Return what the same joints say without tokens: float64 [17 * D * 3].

    Of every coordinate, as it went in (in the box), its mean, its standard deviation and its mean speed.
    """
    places = track.keypoints[..., :-1].astype(np.float64)
    speed = np.abs(np.diff(places, axis=0)).mean(axis=0)
    return np.concatenate([places.mean(axis=0).ravel(), places.std(axis=0).ravel(), speed.ravel()])


def accuracy(features: Floats, labels: NDArray[np.str_], folds: int = FOLDS) -> tuple[float, float]:
    """Return the mean accuracy of a logistic regression on recordings it was not fitted to, and its spread over folds.

    features: [N, F], brought to mean 0 and deviation 1 on the fitted recordings; labels: [N]. Every recording is in
    one of `folds` parts of equal mixture (stratified), drawn with seed 0, and judged by a probe fitted to the others.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    parts = StratifiedKFold(folds, shuffle=True, random_state=0)
    scores = cross_val_score(probe, features, labels, cv=parts)
    return float(scores.mean()), float(scores.std())


def probe(
    tokenizer: str | Path, data: Sequence[Path], every: int = 1, backend: Backend = "auto"
) -> dict[str, dict[str, float]]:
    """Return the accuracies on each set, by path.

    Contents of fewer recordings than there are folds are left out. Raises ValueError where a set does not say what
    its recordings show, or fewer than two contents are left.
    """
    codec, sizes = open_codec(tokenizer, backend)
    found = {}
    for name, part in run_sets(codec, sizes, data, every, pictures=False).items():
        shown = Counter(track.content for track in part.result.tracks if track.content)
        kept = [track for track in part.result.tracks if shown[track.content] >= FOLDS]
        labels = np.array([track.content for track in kept])
        if len(set(labels)) < 2:
            raise ValueError(
                f"{name} has fewer than two contents with {FOLDS} or more recordings: nothing to tell apart"
            )
        tokens, spread = accuracy(np.stack([histogram(track, sizes.vocabulary) for track in kept]), labels)
        joints, joint_spread = accuracy(np.stack([joint_features(track) for track in kept]), labels)
        found[name] = {
            "recordings": len(kept),
            "contents": len(set(labels)),
            "largest_share": max(Counter(labels.tolist()).values()) / len(kept),
            "accuracy_tokens": tokens,
            "accuracy_tokens_spread": spread,
            "accuracy_joints": joints,
            "accuracy_joints_spread": joint_spread,
        }
    return found


@dataclass(frozen=True)
class Config:
    """What tokens say of the motion: a linear probe on ids, beside one on joints."""

    EXITS: ClassVar = (5, 10, 13, 14, 130)

    tokenizer: str
    """Name of a shipped tokenizer, a tokenizer directory, or a run's folder."""
    data: list[Path] = field(default_factory=list)
    """Recordings that say what they show."""
    backend: Literal["auto", "openvino", "onnxruntime"] = "auto"
    """Backend for exported tokenizers."""
    every: int = 1
    """Use only every N-th recording, for a quick look."""
    json: Path | None = None
    """File to write the figures to."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if not self.data:
            raise ValueError("--data: name recordings")
        if self.every < 1:
            raise ValueError(f"--every {self.every}: at least 1")


EXAMPLES = """
  python -m training.probe heatmap2d-f8 --data data/bandai_namco/dataset1
"""


def main(config: Config, stop: threading.Event) -> None:
    """Probe and print."""
    need_writable(config.json)
    with refusing():
        found = probe(config.tokenizer, config.data, config.every, config.backend)
    if config.json:
        config.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for name, row in found.items():
        print(name)
        for key, value in row.items():
            print(f"  {key:24} {value:10.3f}")


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m training.probe", examples=EXAMPLES, batch=True))
