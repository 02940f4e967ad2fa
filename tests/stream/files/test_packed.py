"""Packed files: every packet comes back as it was, in fewer bytes, and what is not whole is named."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from commands import call
from stream import Tokenizer, export, tokenize, unpack
from stream.files.packed import Packed, read_packed
from stream.log.reader import LogReader
from stream.log.writer import TokenLog
from stream.sources.demo import demo_pose
from stream.tokenizer import Tokens
from stream.wire.packets import Packet, encode
from wire_samples import sample

HOPS = 30


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer("predictive2d-f8", "onnxruntime")


def packets(tokenizer: Tokenizer, tokens: Tokens, track: int, lost: int = -1) -> list[Packet]:
    return [
        sample(
            tokenizer=tokenizer.label,
            track=track,
            seq=number,
            frame=hop.frame,
            t=hop.captured_ns,
            wall=10**18 + hop.captured_ns,
            shape=hop.ids.shape,
            tokens=hop.ids.astype("<u2").tobytes(),
            box=hop.box,
            unit="px",
            observed=hop.observed,
            reset=hop.reset,
        )
        for number, hop in enumerate(tokens.hops())
        if number != lost
    ]


@pytest.fixture(scope="module")
def log(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people, side by side; of one a packet is lost, the other has as many levels as each hop needs."""
    joints = [np.stack([demo_pose(who, n / 30).joints[:, :2] for n in range(8 * HOPS)]) for who in (0, 1)]
    first = packets(tokenizer, tokenizer.encode(joints[0]), 0, lost=11)
    second = packets(tokenizer, tokenizer.encode(joints[1], quality=4.0), 1)
    assert len({packet.shape for packet in second}) > 2
    path = tmp_path_factory.mktemp("logs") / "tokens.db"
    with TokenLog(path) as writer:
        for number, packet in enumerate(sorted([*first, *second], key=lambda packet: (packet.wall, packet.track))):
            writer.append(packet, encode(packet), 10**18 + number)
    return path


@pytest.fixture(scope="module")
def packed(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "tokens.packed"
    assert call(export, [str(log), "--to", "packed", "--out", str(out)]) == 0
    return out


def logged(path: Path) -> list[tuple[Packet, bytes, int]]:
    with LogReader(path) as log:
        return [(each.packet, each.frame, each.received) for each in log.packets()]


def test_every_packet_comes_back_as_it_was(log: Path, packed: Path, tmp_path: Path) -> None:
    assert call(unpack, [str(packed), "--out", str(tmp_path / "again.db")]) == 0
    assert logged(tmp_path / "again.db") == logged(log)
    assert packed.stat().st_size < 0.15 * sum(len(frame) for _, frame, _ in logged(log))


def test_ids_take_half_their_bits(packed: Path) -> None:
    held = msgspec.msgpack.decode(packed.read_bytes(), type=Packed)
    ids = sum(each.packet.ids().size for each in read_packed(packed))
    assert 8 * sum(map(len, held.runs)) < 0.75 * 10 * ids


def test_recordings_are_packed_too(tmp_path: Path) -> None:
    joints = np.stack([demo_pose(1, n / 30).joints for n in range(120)])
    np.savez(tmp_path / "wave.npz", joints=joints, fps=30)
    words = [str(tmp_path / "wave.npz"), "--tokenizer", "predictive2d-f8", "--out", str(tmp_path / "out")]
    assert call(tokenize, [*words, "--to", "npz"]) == 0
    assert call(tokenize, [*words[:-1], str(tmp_path / "small"), "--to", "packed"]) == 0
    (small,), (plain,) = (tmp_path / "small").glob("*.packed"), (tmp_path / "out").glob("*.npz")
    assert call(unpack, [str(small), "--to", "npz", "--out", str(tmp_path / "again.npz")]) == 0
    with np.load(plain) as one, np.load(tmp_path / "again.npz") as other:
        assert set(one) == set(other)
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_what_cannot_be_packed_or_unpacked_is_named(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with TokenLog(tmp_path / "heat.db") as writer:
        packet = sample()
        writer.append(packet, encode(packet), 1)
    assert call(export, [str(tmp_path / "heat.db"), "--to", "packed", "--out", str(tmp_path / "x")]) == 5
    assert "no prior for" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    assert call(export, [str(tmp_path / "heat.db"), "--to", "packed", "--decode"]) == 2
    data = packed.read_bytes()
    held = msgspec.msgpack.decode(data, type=Packed)
    for name, damaged, told in (
        ("none", b"", "is no packed file, or damaged"),
        ("junk", b"junk", "is no packed file, or damaged"),
        ("cut", data[:-40], "is no packed file, or damaged"),
        ("later", msgspec.msgpack.encode(msgspec.structs.replace(held, kinetoken=2)), "has form 2"),
        ("sum", msgspec.msgpack.encode(msgspec.structs.replace(held, sha256=bytes(32))), "its ids do not come back"),
        ("runs", msgspec.msgpack.encode(msgspec.structs.replace(held, runs=held.runs[:1])), "is damaged"),
        ("columns", msgspec.msgpack.encode(msgspec.structs.replace(held, columns=b"")), "is damaged"),
    ):
        (tmp_path / name).write_bytes(damaged)
        assert call(unpack, [str(tmp_path / name), "--out", str(tmp_path / "out.db")]) == 7, name
        assert told in capsys.readouterr().err
        assert not (tmp_path / "out.db").exists()
