"""docs/files.md: its columns are those that are written, and its queries run."""

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from motion_samples import write_npz, write_shard
from processes import ROOT
from stream.export import Config as ExportConfig
from stream.export import main as export
from stream.files.writers import COLUMNS, DECODED
from stream.producer import Config as ProducerConfig
from stream.producer import main as produce
from stream.tokenize import Config as TokenizeConfig
from stream.tokenize import main as tokenize

PAGE = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page's commands leave behind."""
    folder = tmp_path_factory.mktemp("files")
    config = ProducerConfig(
        demo=True,
        rate="max",
        duration=3,
        stream="camera",
        bind=f"ipc://{folder}/packets",
        log=str(folder / "tokens.db"),
    )
    produce(config, threading.Event())
    export(ExportConfig(str(folder / "tokens.db"), "parquet", decode=True), threading.Event())
    (folder / "recordings").mkdir()
    write_npz(folder / "recordings" / "one.npz")
    write_shard(folder / "recordings" / "three.npz", ["walk"] * 3)
    config_ = TokenizeConfig([str(folder / "recordings")], str(folder / "tokens"), "parquet", decode=True, dims="3d")
    tokenize(config_, threading.Event())
    return folder


def test_every_column_has_its_line() -> None:
    table = PAGE.partition("## Columns")[2].partition("## Queries")[0]
    lines = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", table, flags=re.MULTILINE))
    assert lines == {
        name: kind.replace("list<", "list of ").replace(">", "") for name, kind in (COLUMNS | DECODED).items()
    }


def said_by(query: str, folder: Path) -> str:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{query}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pandas_answers(folder: Path) -> None:
    said = said_by(QUERIES[0], folder)
    assert re.search(r"camera +0 +3\.2\n +1 +3\.2\n", said)
    heights = [float(number) for number in said.partition("[")[2].strip("]\n ").split()]
    assert len(heights) == 24
    assert all(200 < height < 700 for height in heights)  # px


def test_duckdb_answers(folder: Path) -> None:
    said = said_by(QUERIES[1], folder)
    used, gaps = said.split("┌")[1:]
    assert len(re.findall(r"│ +\d+ │ +\d+ │", used)) == 5
    assert "0 rows" in gaps


def test_the_log_is_read_from_python(folder: Path) -> None:
    lines = said_by(QUERIES[2], folder).splitlines()
    assert len(lines) == 24
    assert lines[0].startswith("camera 0 0 [")
