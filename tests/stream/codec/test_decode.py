"""Packets become bodies where they were, each person with a state of their own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import TokenizerError
from engine.session import Decoder, open_decoder
from engine.spec import TokenizerSpec
from stream.codec.decode import FORGET_S, TRACKS, Motion, StreamDecoder
from stream.wire.packets import Packet, PacketError, pack_ids
from tokenizer_samples import CONFIDENCE, GRID, HOP, expected, write_tokenizer
from wire_samples import sample

BOX = (320.0, 240.0, 200.0)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TokenizerSpec]:
    folder = tmp_path_factory.mktemp("tokenizers") / "running-sum"
    return folder, write_tokenizer(folder)


@pytest.fixture
def decoder(tokenizer: tuple[Path, TokenizerSpec]) -> StreamDecoder:
    return StreamDecoder(lambda name: open_decoder(name, "onnxruntime"), str(tokenizer[0]))


@pytest.fixture
def label(tokenizer: tuple[Path, TokenizerSpec]) -> str:
    return tokenizer[1].label


def filled(label: str, identifier: int = 256, **changes: Any) -> Packet:
    shape, tokens = pack_ids(np.full(GRID, identifier))
    return sample(**({"shape": shape, "tokens": tokens, "box": BOX, "tokenizer": label} | changes))


def place(motion: Motion) -> float:
    """Where the small decoder has put everything, in the box."""
    return float((motion.joints[0, 0, 0] - BOX[0]) / BOX[2] + 0.5)


def test_joints_come_back_in_source_coordinates(decoder: StreamDecoder, label: str) -> None:
    packet = filled(label, 512 // 4, box=(100.0, 50.0, 80.0))
    inside, _ = expected(packet.ids(), 0.0)
    joints, confidence = decoder.decode(packet)
    assert joints.shape == (HOP, 17, 2)
    assert joints.dtype == confidence.dtype == np.float32
    np.testing.assert_allclose(joints[..., 0], 100 + 80 * (inside[..., 0] - 0.5), rtol=1e-6)
    np.testing.assert_allclose(joints[..., 1], 50 + 80 * (inside[..., 1] - 0.5), rtol=1e-6)
    np.testing.assert_array_equal(confidence, np.full((HOP, 17), CONFIDENCE, np.float32))


def test_the_state_goes_on_and_starts_afresh_where_it_must(decoder: StreamDecoder, label: str) -> None:
    def run(**changes: Any) -> int:
        """How many hops the state holds after this packet."""
        return round(place(decoder.decode(filled(label, **changes))) / 0.05)

    assert [run(seq=seq) for seq in (7, 8, 9)] == [1, 2, 3]  # joined in the middle
    assert run(seq=10, reset=True) == 1
    assert run(seq=11) == 2
    assert run(seq=13) == 1  # one packet lost
    assert run(seq=14) == 2
    assert run(seq=0, track=4) == 1
    assert run(seq=0, stream="other") == 1
    assert run(seq=0, epoch=bytes(16)) == 1
    assert run(seq=15) == 3  # none of them touched this one
    assert run(seq=1, track=4) == 2


def test_a_packet_that_does_not_fit_changes_nothing(decoder: StreamDecoder, label: str) -> None:
    decoder.decode(filled(label, seq=0))
    for changes, reason in (
        ({"identifier": 512}, "id 512 is outside the vocabulary of 512"),
        ({"hop": 4, "observed": 1}, "hop 4"),
        ({"shape": (1, 1, 4, 16)}, r"grid \[1, 1, 4, 16\]"),
        ({"box": (1.0, 2.0, 3.0, 4.0), "unit": "cm"}, "unit cm do not fit running-sum@.*: 2D"),
    ):
        with pytest.raises(PacketError, match=reason):
            decoder.decode(filled(label, seq=1, **changes))
    assert round(place(decoder.decode(filled(label, seq=1))) / 0.05) == 2


def test_a_tokenizer_is_opened_once_and_by_the_name_in_the_packet(label: str, tokenizer: tuple[Path, Any]) -> None:
    opened = []

    def opener(name: str) -> Decoder:
        opened.append(name)
        return open_decoder(tokenizer[0], "onnxruntime")

    decoder = StreamDecoder(opener)
    for seq in range(3):
        decoder.decode(filled(label, seq=seq))
    assert opened == ["running-sum"]


def test_the_wrong_weights_are_refused(decoder: StreamDecoder) -> None:
    with pytest.raises(TokenizerError, match=r"made with running-sum@0123456789ab, but running-sum@.* --tokenizer"):
        decoder.decode(filled("running-sum@0123456789ab"))


def test_an_unknown_tokenizer_is_named() -> None:
    with pytest.raises(TokenizerError, match="no tokenizer 'never-heard-of'"):
        StreamDecoder(open_decoder).decode(filled("never-heard-of@0123456789ab"))


def test_people_not_heard_of_are_forgotten(decoder: StreamDecoder, label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 1000.0

        @classmethod
        def monotonic(cls) -> float:
            return cls.now

    monkeypatch.setattr("stream.codec.decode.time", Clock)
    decoder.decode(filled(label, track=0, seq=0))
    Clock.now += FORGET_S / 2
    decoder.decode(filled(label, track=1, seq=0))
    assert len(decoder._people) == 2
    Clock.now += FORGET_S / 2 + 1
    decoder.decode(filled(label, track=2, seq=0))
    assert [key[1] for key in decoder._people] == [1, 2]


def test_memory_is_bounded(decoder: StreamDecoder, label: str) -> None:
    for track in range(TRACKS + 20):
        decoder.decode(filled(label, track=track))
    assert len(decoder._people) == TRACKS
