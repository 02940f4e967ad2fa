"""The producer's control socket as readers of another machine use it: all they have is the address."""

import shutil
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest

from engine.spec import load_tokenizer, write_sums
from stream.client import TokenStream
from stream.command.child import ProducerProcess
from stream.subscribe.control_client import Asker
from stream.wire.packets import Status, decode
from stream.wire.requests import Info, InfoReply, Replay, ReplayReply

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0


def control_of(stream: TokenStream, address: str) -> str:
    """Return where the status says that the control socket is."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        heard = stream.poll(0.5)
        if heard and isinstance(heard.message, Status) and heard.message.control:
            return heard.message.control.replace("*", "127.0.0.1")
    raise AssertionError(f"no status at {address}")


def test_a_tokenizer_of_ones_own_comes_from_the_producer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "my-own"
    shutil.copytree(load_tokenizer("heatmap2d-f8").folder, own)
    config = (own / "config.json").read_text(encoding="utf-8").replace('"heatmap2d-f8"', '"my-own"')
    (own / "config.json").write_text(config, encoding="utf-8")
    write_sums(own)
    monkeypatch.setenv("KINETOKEN_CACHE", str(tmp_path / "empty"))
    with (
        ProducerProcess(["--demo", "--duration", "30", "--tokenizer", str(own)]) as producer,
        TokenStream(producer.address, decode=True) as stream,
    ):
        for packet, motion in islice(stream.motions(), 4):
            assert packet.tokenizer.startswith("my-own@")
            assert motion.joints.shape == (8, 17, 2)
    (folder,) = (tmp_path / "empty" / "tokenizers").iterdir()
    assert load_tokenizer(folder).spec.name == "my-own"


def test_packets_of_the_run_before_are_still_to_be_had(tmp_path: Path) -> None:
    log = tmp_path / "producer.db"
    flags = ["--demo", "--duration", "60", "--max-persons", "1", "--log", str(log)]
    with ProducerProcess(flags) as first, TokenStream(first.address) as stream:
        before = list(islice(stream, 5))
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait() == 0
    with (
        ProducerProcess(flags) as second,
        TokenStream(second.address) as stream,
        Asker(control_of(stream, second.address)) as asker,
    ):
        info = asker.wait(Info(id=0))
        assert isinstance(info, InfoReply)
        assert info.streams[0].epochs[0] == before[0].epoch
        assert info.streams[0].log
        request = Replay(id=0, stream="demo", track=before[0].track, epoch=before[0].epoch, first=0, last=4)
        reply = asker.wait(request)
        assert isinstance(reply, ReplayReply)
        assert [decode(frame) for frame in reply.frames] == before
        assert reply.missing == ()


def test_the_control_address_can_be_chosen(tmp_path: Path) -> None:
    control = f"ipc://{tmp_path}/questions"
    flags = ["--demo", "--duration", "30", "--bind", f"ipc://{tmp_path}/tokens", "--control", control, "--wait", "60"]
    producer = subprocess.Popen([sys.executable, "-m", "stream.producer", *flags], cwd=ROOT)
    try:
        with TokenStream(f"ipc://{tmp_path}/tokens") as stream:
            assert control_of(stream, control) == control
            with Asker(control) as asker:
                assert isinstance(asker.wait(Info(id=0)), InfoReply)
    finally:
        producer.kill()
        producer.wait()
