"""What a training run wrote down of itself, read again."""

import json
from pathlib import Path

import pytest

from training.run.folder import read_log, training_seconds


def test_the_time_of_a_run_counts_every_step_once(tmp_path: Path) -> None:
    assert read_log(tmp_path) == []
    assert training_seconds(tmp_path, 8) == 0
    entries: list[dict[str, object]] = [
        {"step": 20, "samples_per_second": 16.0},  # 0.5 s a step
        {"step": 40, "samples_per_second": 8.0},  # 1 s a step, lost: the run went on from its checkpoint at 20
        {"step": 40, "samples_per_second": 32.0},  # 0.25 s a step
        {"step": 40, "unseen": {"a/set": {"joint_error_cm": 3.0}}},
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, entries)) + '\n{"step": 60, "sam', encoding="utf-8")
    assert read_log(tmp_path) == entries
    assert training_seconds(tmp_path, 8) == pytest.approx(20 * 0.5 + 20 * 0.25)
