"""Timing side by side: taking turns, ratios, what is not there is named, start-up in processes of their own."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from commands import call
from engine import bench
from engine.errors import KinetokenError
from engine.measure import startup
from engine.measure.startup import cold_and_warm, peak_memory
from engine.measure.timing import FEWEST, ratio, summary, time_interleaved
from engine.measure.work import count_flop
from engine.spec import load_tokenizer
from engine.tensorrt import manifest
from stream.bench import STEP, people_limit
from stream.sources.demo import MAX_PEOPLE


def test_everything_takes_turns() -> None:
    said: list[str] = []
    times = time_interleaved({name: partial(said.append, name) for name in "abc"}, seconds=0)
    assert said == ["a", "b", "c"] * (1 + FEWEST)  # one turn does not count
    assert [len(each) for each in times.values()] == [FEWEST] * 3


def test_ratios_are_of_the_same_turn() -> None:
    busy = [1.0, 1.0, 10.0, 1.0, 1.0]  # what slows the machine down slows both
    assert ratio([2 * each for each in busy], busy) == 2
    told = summary([float(n) for n in range(1, 12)])
    assert (told.median, told.fastest, told.low, told.high, told.turns) == (6, 1, 2, 10, 11)


def test_a_run_measures_both_graphs_everywhere_and_names_what_is_absent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, picture = tmp_path / "figures.json", tmp_path / "cost.png"
    arguments = ["--backend", "openvino", "onnxruntime", "--precision", "fp32", "int8", "--batch", "1", "3"]
    arguments += ["--seconds", "0", "--no-start", "--json", str(file), "--plot", str(picture)]
    assert call(bench, arguments) == 0
    figures = json.loads(file.read_text(encoding="utf-8"))
    found = [(row["part"], row["batch"], row["backend"]) for row in figures["rows"]]
    expected = [(p, b, e) for p in ("encoder", "decoder") for b in (1, 3) for e in ("openvino", "onnxruntime")]
    assert found == expected
    encoder = load_tokenizer("heatmap2d-f8").graph("encoder")
    for row in figures["rows"]:
        assert row["frame_ms"] == pytest.approx(row["ms"]["median"] / row["batch"] / 8)
        assert row["gflops"] == pytest.approx(row["gflop"] / row["ms"]["median"] * 1000)
        assert row["share"] > 0
        if row["backend"] == "openvino":
            assert row["ratio"] == 1
        if row["part"] == "encoder":
            assert row["gflop"] == pytest.approx(count_flop(encoder, row["batch"]) / 1e9)
    assert figures["input_bytes"] == {"heatmap2d-f8": 8 * 17 * 3 * 4}
    assert figures["peaks"]["fp32"] > 0
    assert figures["machine"]["cores"] >= 1
    printed = capsys.readouterr().out
    assert "not measured: openvino int8: " in printed
    assert "not measured: onnxruntime int8: onnxruntime runs in fp32, not in int8" in printed
    assert "| onnxruntime fp32 |" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_fresh_process_gives_its_first_tokens_cold_and_warm() -> None:
    cold, warm = cold_and_warm("heatmap2d-f8", "openvino", "fp32", people=8)
    for start in (cold, warm):
        assert start.first > 0
        assert start.people == 8
        assert start.memory_people >= start.memory > 20


def test_a_process_that_gives_no_tokens_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KinetokenError, match=r"onnxruntime in int8 exited without tokens.*choose another"):
        cold_and_warm("heatmap2d-f8", "onnxruntime", "int8", people=1)
    monkeypatch.setattr(startup, "_CHILD", "print(1, flush=True); raise SystemExit(3)")
    with pytest.raises(KinetokenError, match="exited without tokens"):
        cold_and_warm("heatmap2d-f8", "onnxruntime", "fp32", people=1)
    monkeypatch.setattr(startup, "PATIENCE", 0.5)
    monkeypatch.setattr(startup, "_CHILD", "import time; time.sleep(600)")
    with pytest.raises(KinetokenError, match="exited without tokens: exit code -9"):
        cold_and_warm("heatmap2d-f8", "onnxruntime", "fp32", people=1)


def test_a_fresh_process_finds_the_engines_that_were_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINETOKEN_CACHE", str(tmp_path))
    (manifest.engines_folder() / "one").mkdir()
    looks = "from engine.tensorrt.manifest import engines_folder; print(len([*engines_folder().iterdir()])); print(2)"
    monkeypatch.setattr(startup, "_CHILD", looks)
    assert [start.memory for start in cold_and_warm("heatmap2d-f8", "auto", "fp32", people=1)] == [1, 1]


def test_the_peak_of_memory_does_not_fall() -> None:
    mib = 2**20
    before, held = peak_memory(), psutil.Process().memory_info().rss / mib
    much = np.ones(int((before - held + 64) * mib), np.uint8)
    assert peak_memory() > before + 32
    reached = peak_memory()
    del much
    assert peak_memory() > reached - 2  # the kernel adds up by the batch


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--tokenizer", "heatmap9d"], 5, "no tokenizer 'heatmap9d'"),
        (["--backend", "onnxruntime", "--precision", "int8"], 1, "nothing to time: onnxruntime runs in fp32, not in"),
    ],
)
def test_what_cannot_be_measured_is_one_clear_error(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(bench, arguments) == code
    assert message in capsys.readouterr().err


def test_a_start_that_fails_keeps_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(startup, "_CHILD", "raise SystemExit('no room')")
    assert call(bench, ["--backend", "onnxruntime", "--batch", "1", "--seconds", "0"]) == 0
    printed = capsys.readouterr().out
    assert "| onnxruntime fp32 |" in printed
    assert "not measured: heatmap2d-f8: start of auto fp32: auto in fp32 exited without tokens: no room" in printed


def test_a_file_that_cannot_be_written_is_said_before_measuring(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flag, file in (("--json", tmp_path), ("--plot", tmp_path / "nowhere" / "cost.png")):
        assert call(bench, [flag, str(file)]) == 10
        assert f"{file} cannot be written" in capsys.readouterr().err


def test_a_batch_of_nobody_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(bench, ["--batch", "0"]) == 2
    assert "--batch 0: at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("most", [0, 3, 4, 17, 61, 64, 100, 255, 256, 999])
def test_the_search_for_the_most_people_ends_close_below_it(most: int) -> None:
    tried: list[int] = []

    def keeps_up(people: int) -> bool:
        tried.append(people)
        return people <= most

    found = people_limit(keeps_up)
    assert found <= most < found + STEP or found == MAX_PEOPLE <= most
    assert len(tried) <= 14
    assert max(tried) <= MAX_PEOPLE
