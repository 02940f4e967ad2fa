"""The reader in another language: every test vector, and a real producer."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from engine.spec import PRETRAINED
from stream.command.child import ProducerProcess
from stream.log.reader import LogReader, with_motion

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests" / "stream" / "wire" / "vectors"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with its packages installed, beside the checkout, not in it."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("no node or npm here")
    version = subprocess.run([node, "--version"], capture_output=True, encoding="utf-8", check=True).stdout
    if int(version.lstrip("v").split(".")[0]) < 20:
        pytest.skip(f"node {version.strip()} is older than 20")
    folder = tmp_path_factory.mktemp("node") / "reader"
    shutil.copytree(ROOT / "examples" / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    command = [npm, "install", "--no-audit", "--no-fund", "--fetch-retries=0"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=100)
    except subprocess.TimeoutExpired:
        pytest.skip("npm cannot fetch the packages in time")
    if done.returncode:
        pytest.skip(f"npm cannot install the packages: {done.stderr.strip()[-200:]}")
    return folder


def test_every_vector_is_read_or_refused_as_it_should(reader: Path) -> None:
    done = subprocess.run(
        ["node", "vectors.js", str(VECTORS)], cwd=reader, capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    count = len(list(VECTORS.glob("*.bin")))
    assert done.stdout == f"{count} vectors, 0 failed\n"


def test_it_reads_a_producer_and_asks_its_control_socket(reader: Path) -> None:
    with ProducerProcess(["--demo", "--duration", "30"]) as producer:
        command = ["node", "reader.js", producer.address, "6"]
        done = subprocess.run(command, cwd=reader, capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    lines = [
        re.fullmatch(r"demo/(\d)  seq (\d)  lost 0  ids (\d+ ){6}\.\.\.", line) for line in done.stdout.splitlines()
    ]
    assert [(match[1], match[2]) for match in lines if match] == [(str(n % 2), str(n // 2)) for n in range(6)]
    assert "packets kept" in done.stderr
    assert done.stderr.endswith("read 6, refused 0\n")


def test_it_decodes_to_the_joints_that_we_decode_to(reader: Path, tmp_path: Path) -> None:
    log = tmp_path / "tokens.db"
    flags = ["--demo", "--duration", "4", "--rate", "max", "--backend", "onnxruntime", "--log", str(log)]
    folder = PRETRAINED / "heatmap2d-f8"
    with ProducerProcess(flags) as producer:
        command = ["node", "decode.js", producer.address, str(folder)]
        done = subprocess.run(command, cwd=reader, capture_output=True, encoding="utf-8", timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    theirs = {(row["track"], row["seq"]): row for row in map(json.loads, done.stdout.splitlines())}
    with LogReader(log) as packets:
        for packet, _, _, _, motion in with_motion(packets.packets(), str(folder)):
            assert motion is not None
            row = theirs.pop((packet.track, packet.seq))
            # px of a body of some 500: two engines round differently, and states carry it on.
            np.testing.assert_allclose(row["joints"], motion.joints, atol=0.05)
            np.testing.assert_allclose(row["confidence"], motion.confidence, atol=1e-3)
    assert theirs == {}
