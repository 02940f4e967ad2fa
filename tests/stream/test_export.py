"""A log as JSON lines, Parquet and arrays: the same packets in each, whole files or none."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from log_samples import hops, write_first_version, write_log
from stream.command.cli import run
from stream.export import COLUMNS, EXAMPLES, Config, main
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
    lines = log.with_suffix(".jsonl").read_text().splitlines()
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
    seqs = [json.loads(line)["seq"] for line in path.with_suffix(".jsonl").read_text().splitlines()]
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
    assert len(path.with_suffix(".jsonl").read_text().splitlines()) == 9
    assert "is damaged (it is not what was written); the others were given" in capsys.readouterr().err


def test_a_file_that_is_there_stays(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.with_suffix(".jsonl").write_text("mine")
    assert export(str(log)) == 10
    assert log.with_suffix(".jsonl").read_text() == "mine"
    assert "exists: remove it or choose another --out" in capsys.readouterr().err


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
