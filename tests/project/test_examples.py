"""The examples, run as their heads say."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from motion_samples import write_npz, write_shard
from processes import ROOT, Start
from stream.client import TokenStream
from stream.command.child import ProducerProcess
from stream.producer import Config, main
from stream.tokenize import Config as TokenizeConfig
from stream.tokenize import main as tokenize

EXAMPLES = ROOT / "examples" / "python"
ENV = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(name: str, *argv: object) -> str:
    command = [sys.executable, str(EXAMPLES / name), *map(str, argv)]
    done = subprocess.run(command, env=ENV, capture_output=True, encoding="utf-8", timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_raised_hand_is_told_once(tmp_path: Path) -> None:
    flags = ["--demo", "--dims", "3d", "--rate", "max", "--duration", "20"]
    with ProducerProcess(flags) as producer:
        told = run("hand_up.py", producer.address).splitlines()
    assert 1 <= len(told) <= 8
    assert all(re.fullmatch(r"person [01] raises a hand, \d+\.\d s into the stream", line) for line in told)
    assert any(line.startswith("person 1 ") for line in told)


def test_ids_alone_tell_of_a_raised_hand(shared: Path, tmp_path: Path) -> None:
    with np.load(shared / "data/bandai_namco/dataset1/shard_00.npz") as whole:
        arrays = {name: whole[name] for name in whole}
    offsets = arrays["offsets"]
    for name, clips in (("learn", range(0, 120, 2)), ("judge", range(1, 120, 4))):
        (tmp_path / name).mkdir()
        parts = [arrays["joints"][offsets[n] : offsets[n + 1]] for n in clips]
        ends = np.cumsum([0, *map(len, parts)])
        names = arrays["names"][list(clips)]
        np.savez(tmp_path / name / "a.npz", joints=np.concatenate(parts), offsets=ends, names=names, fps=30)
    said = run("hand_up_from_ids.py", tmp_path / "learn", tmp_path / "judge")
    right = re.search(r"right ([\d.]+)%, precision ([\d.]+)%, recall ([\d.]+)%\n", said)
    assert right is not None
    assert float(right[1]) > 90
    assert min(float(right[2]), float(right[3])) > 60


@pytest.fixture(scope="module")
def token_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of tokens, a file of three people and a file of one."""
    folder = tmp_path_factory.mktemp("tokens")
    write_shard(folder / "three.npz", ["walk"] * 3, frames=300)
    write_npz(folder / "one.npz", 200)
    for name in ("three", "one"):
        config = TokenizeConfig([str(folder / f"{name}.npz")], str(folder / name), tokenizer="heatmap2d-f16")
        tokenize(config, threading.Event())
    return folder


def test_tokens_are_a_torch_data_set(token_files: Path) -> None:
    said = run("torch_dataset.py", token_files / "three")
    # 19 hops of 32 ids with BEGIN and END are 609 steps, three windows of 8 hops.
    assert said == "3 sequences, 9 windows, a batch [4, 257], ids to 2050: BEGIN 2048, END 2049, PAD 2050\n"


def test_a_language_model_says_what_comes_next(token_files: Path, tmp_path: Path) -> None:
    picture = tmp_path / "next.png"
    said = run("language_model.py", token_files / "three", token_files / "one", picture, 3)
    assert re.fullmatch(r"[\d.]+ bits a token on people never seen; by frequency alone [\d.]+\n", said)
    drawn = cv2.imread(str(picture))
    assert drawn is not None
    assert drawn.shape == (2 * (120 + 28), 8 * 120, 3)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    config = Config(demo=True, rate="max", duration=4, bind=f"ipc://{folder}/packets", log=str(folder / "tokens.db"))
    main(config, threading.Event())
    return folder / "tokens.db"


def test_a_log_answers_sql(log: Path) -> None:
    lines = run("log_with_sql.py", log).splitlines()
    assert len(lines) == 5
    for person in range(2):
        assert re.fullmatch(rf"demo/{person}: 15 packets in \d+\.\d s", lines[person])
    assert re.fullmatch(r"first id of a packet is \d+: \d+ times", lines[2])


def test_a_sink_of_ones_own_goes_on_after_a_break(tmp_path: Path) -> None:
    kept = tmp_path / "mine.db"
    for total in ("30 hops kept, 0 gaps\n", "60 hops kept, 0 gaps\n"):
        with ProducerProcess(["--demo", "--rate", "max", "--duration", "4"]) as producer:
            assert run("own_sink.py", producer.address, kept) == total


def test_a_source_of_ones_own_is_heard(launch: Start, tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/packets"
    process = launch(str(EXAMPLES / "own_source.py"), address, env={"PYTHONPATH": str(ROOT)})
    with TokenStream(address, decode=True, tokenizer="heatmap3d-f8", once=True, timeout=100) as stream:
        heard = list(stream.motions())
    assert [packet.seq for packet, _ in heard] == list(range(15))
    assert heard[0][0].stream == "mine"
    assert abs(np.ptp(heard[-1][1].joints[-1, :, 1]) - 165) < 30  # cm, a body
    assert process.wait(60) == 0
