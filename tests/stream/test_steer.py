"""How many ids a hop takes: chosen at the start, changed while the producer runs, refused where it cannot be."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from commands import call
from engine.spec import load_tokenizer
from stream import Tokenizer, export, producer, steer
from stream.client import TokenStream
from stream.command.child import ProducerProcess
from stream.sources.demo import demo_pose
from stream.wire.packets import Packet, decode, encode
from wire_samples import sample

DEMO = ["--demo", "--tokenizer", "predictive2d-f8", "--duration", "120"]


def levels(packets: list[Packet]) -> list[int]:
    return [packet.shape[0] for packet in packets]


def test_a_producer_takes_as_many_levels_as_it_is_told(tmp_path: Path) -> None:
    log = tmp_path / "tokens.db"
    with (
        ProducerProcess([*DEMO, "--levels", "5", "--log", str(log)]) as running,
        TokenStream(running.address, decode=True) as stream,
    ):
        heard = list(islice(stream.motions(), 6))
    assert levels([packet for packet, _ in heard]) == [5] * 6
    for packet, motion in heard:
        middle = (motion.joints - np.array(packet.box[:2])).mean(axis=(0, 1))
        assert np.abs(middle).max() < packet.box[2]
    assert call(export, [str(log), "--to", "npz", "--out", str(tmp_path / "tokens.npz")]) == 0
    with np.load(tmp_path / "tokens.npz") as arrays:
        assert arrays["tokens"].shape[1:] == (5, 1, 1, 1)


def test_readers_change_it_while_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with ProducerProcess([*DEMO, "--steerable"]) as running, TokenStream(running.address) as stream:
        assert levels(list(islice(stream, 2))) == [12] * 2
        assert call(steer, ["--connect", running.address, "--levels", "3"]) == 0
        assert capsys.readouterr().out == "stream demo: at most 3 levels\n"
        for packet in stream:
            if packet.shape[0] == 3:
                break
        assert levels(list(islice(stream, 4))) == [3] * 4
        assert call(steer, ["--connect", running.address, "--levels", "13"]) == 3
        assert "predictive2d-f8 has 12" in capsys.readouterr().err
        assert call(steer, ["--connect", running.address]) == 0
        for packet in stream:
            if packet.shape[0] == 12:
                break


def test_who_is_not_to_steer_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with ProducerProcess(DEMO) as running:
        assert call(steer, ["--connect", running.address, "--quality", "4"]) == 3
        assert "start the producer with --steerable" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        (["--levels", "0"], 2, "levels 0: 1 or more"),
        (["--quality", "-1"], 2, "quality -1"),
        (["--levels", "13", "--tokenizer", "predictive2d-f8"], 5, "predictive2d-f8 has 12"),
        (["--levels", "2"], 5, "such as --tokenizer predictive2d-f8"),
        (["--steerable"], 5, "heatmap2d-f8 always uses all of its levels"),
    ],
)
def test_what_cannot_be_is_refused(flags: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(producer, ["--demo", *flags]) == code
    assert told in capsys.readouterr().err


def test_whoever_stands_still_costs_little() -> None:
    tokenizer = Tokenizer("predictive2d-f8", "onnxruntime")
    still = np.repeat(demo_pose(1, 0.0).joints[None, :, :2], 480, axis=0)
    side = tokenizer.encode(still).boxes[-1, -1]
    tokens = tokenizer.encode(still, quality=0.02 * side)
    motion = tokenizer.decode(tokens)
    assert tokens.levels[10:].mean() <= 2  # of 12
    assert np.linalg.norm(motion.joints[80:] - still[80:], axis=-1).mean() < 0.03 * side


def test_a_packet_may_have_no_ids_at_all() -> None:
    label = load_tokenizer("predictive2d-f8").spec.label
    packet = sample(shape=(0, 1, 1, 1), tokens=b"", tokenizer=label)
    again = decode(encode(packet), vocabulary=1024)
    assert again == packet
    assert again.ids().shape == (0, 1, 1, 1)
