"""Files in, files out: every kind of input, the producer's own packets, whole files, and a run that goes on."""

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from engine.command.cli import run
from motion_samples import walk, write_npz, write_shard
from processes import Start
from stream import Tokenizer, read_log
from stream.files.writers import COLUMNS
from stream.log.reader import LogReader
from stream.producer import Config as ProducerConfig
from stream.producer import main as produce
from stream.tokenize import EXAMPLES, SETTINGS, Config, main


def tokenize(*argv: object) -> int:
    flags = ("--backend", "onnxruntime", *map(str, argv))
    return run(main, Config, prog="tokenize", examples=EXAMPLES, argv=flags)


def written(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A folder with a folder: one clip, and three in one file."""
    folder = tmp_path / "recordings"
    (folder / "more").mkdir(parents=True)
    write_npz(folder / "walk.npz", 60)
    write_shard(folder / "more" / "shard.npz", ["walk", "walk", "run"], frames=40)
    return folder


def test_a_folder_becomes_a_folder_of_the_same_form(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tokens"
    assert tokenize(recordings, "--dims", "3d", "--out", out, "--decode") == 0
    assert written(out) == ["more/shard.npz", SETTINGS, "walk.npz"]
    assert "2 inputs, 4 people, 23 hops of tokens: 180 frames (180 poses)" in capsys.readouterr().err
    tokenizer = Tokenizer("heatmap3d-f8", "onnxruntime")
    with np.load(out / "more" / "shard.npz") as arrays:
        assert set(arrays) == {*COLUMNS, "joints", "confidence"} - {"shape"}
        for number in range(3):
            mine = arrays["stream"] == f"clip-{number}"
            tokens = tokenizer.encode(walk(40, who=number).joints)
            np.testing.assert_array_equal(arrays["tokens"][mine], tokens.ids)
            np.testing.assert_array_equal(arrays["seq"][mine], range(5))
            joints = arrays["joints"][mine].reshape(-1, 17, 3)
            np.testing.assert_array_equal(joints, tokenizer.decode(tokens).joints)
        assert set(arrays["tokenizer"]) == {tokenizer.label}


@pytest.mark.parametrize("to", ["npz", "parquet", "jsonl", "db"])
def test_the_packets_are_the_producers_in_every_format(to: str, shared: Path, tmp_path: Path) -> None:
    sequence = shared / "data/panoptic_style/cmu_two_people_1"
    log = tmp_path / "produced.db"
    config = ProducerConfig(
        panoptic=str(sequence), tokenizer="heatmap3d-f8", backend="onnxruntime", rate="max", stream="cmu_two_people_1",
        bind=f"ipc://{tmp_path}/packets", log=str(log),
    )  # fmt: skip
    produce(config, threading.Event())
    produced = {
        (each.packet.track, each.packet.seq): (each.packet.frame, each.packet.ids().ravel().tolist(), each.packet.box)
        for each in read_log(log)
    }
    assert tokenize(sequence, "--dims", "3d", "--to", to, "--out", tmp_path / "out") == 0
    assert {(row["track"], row["seq"]): fields(row) for row in rows(tmp_path / "out" / f"cmu_two_people_1.{to}")} == {
        key: (frame, ids, list(box)) for key, (frame, ids, box) in produced.items()
    }


def fields(row: dict[str, Any]) -> tuple[int, list[int], list[float]]:
    return int(row["frame"]), np.ravel(row["tokens"]).tolist(), list(row["box"])


def rows(file: Path) -> list[dict[str, Any]]:
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    if file.suffix == ".parquet":
        found: list[dict[str, Any]] = pq.read_table(file).to_pylist()
        return found
    if file.suffix == ".npz":
        with np.load(file) as arrays:
            return [{name: arrays[name][n] for name in arrays} for n in range(len(arrays["seq"]))]
    return [
        {"track": p.track, "seq": p.seq, "frame": p.frame, "tokens": p.ids(), "box": p.box}
        for p in (logged.packet for logged in read_log(file))
    ]


def test_a_run_goes_on_where_it_was(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tokens"
    assert tokenize(recordings, "--to", "jsonl", "--out", out) == 0
    kept = (out / "walk.jsonl").stat().st_mtime_ns
    first = (out / "more" / "shard.jsonl").read_bytes()
    (out / "more" / "shard.jsonl").unlink()
    capsys.readouterr()
    assert tokenize(recordings, "--to", "jsonl", "--out", out) == 0
    assert "1 of 2 inputs are done already" in capsys.readouterr().err
    assert (out / "walk.jsonl").stat().st_mtime_ns == kept
    assert (out / "more" / "shard.jsonl").read_bytes() == first  # the same input gives the same file
    # Other settings do not mix with these.
    assert tokenize(recordings, "--dims", "3d", "--to", "jsonl", "--out", out) == 10
    assert "choose another --out, or --force to make all again" in capsys.readouterr().err
    assert tokenize(recordings, "--dims", "3d", "--to", "jsonl", "--out", out, "--force") == 0
    assert "heatmap3d-f8" in (out / "walk.jsonl").read_text(encoding="utf-8")


def test_what_cannot_be_read_is_skipped_and_told(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (recordings / "broken.npz").write_bytes((recordings / "walk.npz").read_bytes()[:500])
    (recordings / "film.mp4").write_bytes(b"no film")
    (recordings / "notes.txt").write_text("not for us", encoding="utf-8")
    pose_model = tmp_path / "pose.task"
    pose_model.write_bytes(b"no model")
    out = tmp_path / "tokens"
    assert tokenize(recordings, "--out", out, "--pose-model", pose_model) == 3
    said = capsys.readouterr().err
    assert f"skipped {recordings}/broken.npz: " in said
    assert f"skipped {recordings}/film.mp4: " in said
    assert "error: 2 of 4 inputs were skipped, for the reasons above; the others are done" in said
    assert written(out) == ["more/shard.npz", SETTINGS, "walk.npz"]


def test_two_processes_give_what_one_gives(recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.tokenize.SIDE_BY_SIDE", 1)
    for jobs in (1, 2):
        assert tokenize(recordings, "--to", "jsonl", "--jobs", jobs, "--out", tmp_path / str(jobs)) == 0
    for name in ("walk.jsonl", "more/shard.jsonl"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_a_stop_leaves_only_whole_files(tmp_path: Path, launch: Start) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    long = write_npz(tmp_path / "long.npz", 25_000)
    for number in range(4):
        os.link(long, folder / f"{number}.npz")
    out = tmp_path / "tokens"
    process = launch("-m", "stream.tokenize", str(folder), "--out", str(out), "--backend", "onnxruntime")
    while process.poll() is None and not (out / "0.npz").exists():
        threading.Event().wait(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 0
    assert "inputs are left for the next run" in said
    names = written(out)
    assert "0.npz" in names
    assert all(name in (SETTINGS, *(f"{n}.npz" for n in range(4))) for name in names)
    assert len(names) < 5


def test_a_log_is_one_that_all_commands_read(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "tokens"
    assert tokenize(recordings / "walk.npz", "--to", "db", "--out", out) == 0
    assert written(out) == [SETTINGS, "walk.db"]
    with LogReader(out / "walk.db") as log:
        assert log.span() == (8, round(7 / 30 * 1e9), round(59 / 30 * 1e9))  # the end of its last frame is held
    motions = [logged.motion for logged in read_log(out / "walk.db", decode=True)]
    assert len(motions) == 8


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["{there}"], 2, "--out is needed"),
        (["--out", "{out}"], 2, "are required: inputs"),
        (["{there}/nothing", "--out", "{out}"], 3, "no file or folder"),
        (["{empty}", "--out", "{out}"], 3, "nothing to read in"),
        (["{there}", "{there}/walk.npz", "--out", "{out}"], 3, "would be written to the same file"),
        (["{there}", "--out", "{out}", "--jobs", "0"], 2, "at least 1"),
        (["{there}", "--out", "{out}", "--to", "db", "--decode"], 2, "--decode goes with"),
        (["{there}", "--out", "{out}", "--tokenizer", "waltz"], 5, "no tokenizer 'waltz'"),
        (["{there}", "--out", "{out}", "--tokenizer", "heatmap3d-f8", "--dims", "2d"], 5, "leave out --dims 2d"),
        (["{there}", "--out", "/proc/nowhere"], 10, "cannot write to /proc/nowhere"),
    ],
)
def test_bad_input_is_one_line_with_its_own_code(
    flags: list[str], code: int, message: str, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"there": recordings, "out": tmp_path / "out", "empty": tmp_path / "empty"}
    assert tokenize(*(flag.format(**places) for flag in flags)) == code
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]


def test_a_real_video_becomes_tokens(shared: Path, tmp_path: Path) -> None:
    out = tmp_path / "tokens"
    model = shared / "models/pose_landmarker_full.task"
    assert tokenize(shared / "data/video", "--to", "jsonl", "--out", out, "--pose-model", model) == 0
    found = rows(out / "two_people_indoor.jsonl")
    assert {row["track"] for row in found} == {0, 1}
    assert {row["stream"] for row in found} == {"two_people_indoor"}
    assert len(found) > 12
