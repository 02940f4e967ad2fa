"""A log as JSON lines, Parquet and arrays: the same packets in each, whole files or none."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from engine.command.cli import run
from engine.session import open_decoder
from log_samples import hops, write_first_version, write_log
from processes import ROOT
from stream.export import EXAMPLES, Config, main
from stream.files.writers import COLUMNS
from stream.log.reader import read_log
from stream.producer import Config as ProducerConfig
from stream.producer import main as produce
from stream.wire.packets import Packet
from wire_samples import EPOCH, sample


def export(*argv: str) -> int:
    return run(main, Config, prog="export", examples=EXAMPLES, argv=argv)


def row(packet: Packet) -> dict[str, Any]:
    """Return what every format should say of a packet."""
    fields = {name: getattr(packet, name) for name in COLUMNS if name != "received"}
    return fields | {
        "epoch": EPOCH.hex(),
        "received": packet.wall + 1,
        "shape": [1, 1, 8, 8],
        "tokens": list(range(64)),
        "box": list(packet.box),
    }


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of two streams, one in px and one in cm."""
    solid = hops(30, stream="solid", unit="cm", box=(1.0, 2.0, 3.0, 250.0), observed=2**64 - 1, hop=64)
    return write_log(tmp_path / "tokens.db", [*hops(30), *solid])


def test_json_lines(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(str(log), "--stream", "demo") == 0
    lines = log.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [row(packet) for packet in hops(30)]
    assert capsys.readouterr().err.startswith(f"30 packets in {log.with_suffix('.jsonl')}")


def test_parquet(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.export.ROWS", 7)
    out = tmp_path / "out.parquet"
    assert export(str(log), "--to", "parquet", "--out", str(out)) == 0
    table = pq.read_table(out)
    assert table.column_names == list(COLUMNS)
    assert str(table.schema.field("tokens").type) == "list<element: uint16>"
    rows = table.to_pylist()
    assert [each for each in rows if each["stream"] == "demo"] == [row(packet) for packet in hops(30)]
    assert rows[1]["observed"] == 2**64 - 1
    assert pq.ParquetFile(out).num_row_groups == 9


def test_arrays(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.export.ROWS", 7)
    assert export(str(log), "--to", "npz") == 0
    with np.load(log.with_suffix(".npz")) as arrays:  # no pickle: that is NumPy's default
        assert arrays["tokens"].shape == (60, 1, 1, 8, 8)
        assert arrays["tokens"].dtype == np.uint16
        np.testing.assert_array_equal(arrays["tokens"][0], sample().ids())
        mine = arrays["stream"] == "demo"
        np.testing.assert_array_equal(arrays["seq"][mine], np.arange(30))
        np.testing.assert_array_equal(arrays["t"][mine], [packet.t for packet in hops(30)])
        np.testing.assert_array_equal(arrays["box"][mine][0], [320, 240, 200, np.nan])
        np.testing.assert_array_equal(arrays["box"][~mine][0], [1, 2, 3, 250])
        assert arrays["observed"][~mine][0] == 2**64 - 1
        assert arrays["reset"].dtype == bool


def test_a_part_of_a_log_of_the_first_version(tmp_path: Path) -> None:
    path = write_first_version(tmp_path / "old.db", hops(10))
    assert export(str(path), "--from", "1.5") == 0
    seqs = [json.loads(line)["seq"] for line in path.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()]
    assert seqs == [6, 7, 8, 9]


def test_grids_that_differ_do_not_make_an_array(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = sample(stream="fine", shape=(2, 1, 8, 8), tokens=bytes(256))
    path = write_log(tmp_path / "a.db", [*hops(3), other])
    assert export(str(path), "--to", "npz") == 10
    assert "token grids [1, 1, 8, 8] and [2, 1, 8, 8] do not fit" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["a.db"]
    assert export(str(path), "--to", "npz", "--stream", "fine") == 0


def test_damaged_rows_are_left_out_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_log(tmp_path / "a.db", hops(10))
    content = bytearray(path.read_bytes())
    at = content.index(b"tok/demo/3\0", content.index(b"tok/demo/3\0") + 1)
    content[at + 150] ^= 1
    path.write_bytes(content)
    assert export(str(path)) == 9
    assert len(path.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()) == 9
    assert "is damaged (it is not what was written); the others were given" in capsys.readouterr().err


def test_a_file_that_is_there_stays(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.with_suffix(".jsonl").write_text("mine", encoding="utf-8")
    assert export(str(log)) == 10
    assert log.with_suffix(".jsonl").read_text(encoding="utf-8") == "mine"
    assert "exists: remove it, choose another --out, or replace a file with --force" in capsys.readouterr().err


def test_force_replaces_a_file_when_the_new_one_is_whole(log: Path, tmp_path: Path) -> None:
    out = log.with_suffix(".jsonl")
    out.write_text("old", encoding="utf-8")
    assert export(str(log), "--force", "--stream", "nobody") == 7
    assert out.read_text(encoding="utf-8") == "old"
    assert export(str(log), "--force") == 0
    assert len(out.read_text(encoding="utf-8").splitlines()) == 60
    assert sorted(each.name for each in tmp_path.iterdir()) == ["tokens.db", "tokens.jsonl"]


def test_one_person_until_a_moment(tmp_path: Path) -> None:
    path = write_log(tmp_path / "a.db", [*hops(10), *hops(10, track=7)])
    assert export(str(path), "--track", "7", "--from", "0.5", "--until", "1.5") == 0
    rows = [json.loads(line) for line in path.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["track"], row["seq"]) for row in rows] == [(7, seq) for seq in range(2, 6)]
    assert export(str(path), "--until", "soon") == 2
    assert export(str(path), "--tokenizer", "heatmap2d-f8") == 2


@pytest.fixture(scope="module")
def motion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of a real tokenizer: two people of the demo for two seconds."""
    folder = tmp_path_factory.mktemp("motion")
    produce(
        ProducerConfig(demo=True, rate="max", duration=2, bind=f"ipc://{folder}/packets", log=str(folder / "a.db")),
        threading.Event(),
    )
    return folder / "a.db"


def test_decoded_joints_are_those_of_the_reader_in_every_format(
    motion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Which engine is the fastest changes from call to call; the last bits are each one's own.
    monkeypatch.setattr("stream.log.reader.open_decoder", lambda name: open_decoder(name, "onnxruntime"))
    expected = [logged.motion for logged in read_log(motion, decode=True)]
    joints = np.stack([each.joints for each in expected if each])
    sure = np.stack([each.confidence for each in expected if each])
    for to in ("jsonl", "parquet", "npz"):
        assert export(str(motion), "--decode", "--to", to, "--out", str(tmp_path / f"out.{to}")) == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    np.testing.assert_allclose([row["joints"] for row in rows], joints, atol=0.00051)
    np.testing.assert_allclose([row["confidence"] for row in rows], sure, atol=0.00051)
    table = pq.read_table(tmp_path / "out.parquet")
    np.testing.assert_array_equal(np.array(table["joints"].to_pylist(), np.float32).reshape(joints.shape), joints)
    np.testing.assert_array_equal(np.array(table["confidence"].to_pylist(), np.float32).reshape(sure.shape), sure)
    with np.load(tmp_path / "out.npz") as arrays:
        np.testing.assert_array_equal(arrays["joints"], joints)
        np.testing.assert_array_equal(arrays["confidence"], sure)


@pytest.mark.parametrize("to", ["jsonl", "parquet", "npz"])
def test_a_pipe_gets_what_a_file_gets(to: str, log: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stream.export", str(log), "--to", to, "--stream", "demo"]
    done = subprocess.run([*command, "--out", "-"], capture_output=True, timeout=100, check=True, cwd=ROOT)
    assert done.stderr == b"30 packets\n"
    out = tmp_path / "out"
    assert export(*command[3:], "--out", str(out)) == 0
    if to == "npz":
        out_of_pipe = tmp_path / "piped.npz"
        out_of_pipe.write_bytes(done.stdout)
        with np.load(out_of_pipe) as piped, np.load(out) as kept:
            assert set(piped) == set(kept)
            for name in kept:
                np.testing.assert_array_equal(piped[name], kept[name])
    else:
        assert done.stdout == out.read_bytes()


def test_a_packet_of_a_tokenizer_that_is_not_here_is_named(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(str(log), "--decode") == 5
    assert "give the directory of the right one with --tokenizer" in capsys.readouterr().err


def test_a_stop_leaves_nothing_behind(log: Path) -> None:
    stop = threading.Event()
    stop.set()
    main(Config(str(log)), stop)
    assert [each.name for each in log.parent.iterdir()] == [log.name]


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["nothing.db"], 7, "no log nothing.db"),
        (["{log}", "--to", "csv"], 2, "--to"),
        (["{log}", "--stream", "nobody"], 7, "no such packets in"),
        (["{log}", "--out", "/proc/nowhere/a"], 10, "cannot write /proc/nowhere/a"),
        (["{log}", "--out", "/dev/full/a"], 10, "cannot write /dev/full/a"),
    ],
)
def test_bad_input_is_one_line_with_its_own_code(
    flags: list[str], code: int, message: str, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(*(flag.format(log=log) for flag in flags)) == code
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]
