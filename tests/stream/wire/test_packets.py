"""The packet's bytes: exact both ways, readable by others, and proof against whatever a socket may bring."""

from pathlib import Path
from typing import Any, Literal

import msgpack
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.wire.packets import (
    MAX_FRAME,
    Goodbye,
    Packet,
    PacketError,
    Status,
    check_stream_name,
    decode,
    decode_control,
    decode_message,
    encode,
    encode_control,
    pack_ids,
)
from wire_samples import EPOCH, sample

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
COUNTS = st.integers(0, 2**63 - 1)
NANOSECONDS = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.floats(-1e9, 1e9)
SIDES = st.floats(0, 1e9, exclude_min=True)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 8), st.integers(1, 8)))
    ids = np.array(draw(st.lists(st.integers(0, 65535), min_size=(n := int(np.prod(shape))), max_size=n)))
    unit: Literal["px", "cm"] = draw(st.sampled_from(["px", "cm"]))
    centre = draw(st.tuples(*[NUMBERS] * (2 if unit == "px" else 3)))
    hop = draw(st.integers(1, 64))
    return Packet(
        stream=draw(NAMES),
        track=draw(COUNTS),
        epoch=draw(st.binary(min_size=16, max_size=16)),
        seq=draw(COUNTS),
        frame=draw(COUNTS),
        t=draw(NANOSECONDS),
        wall=draw(NANOSECONDS),
        fps=draw(st.floats(0.01, 1000)),
        hop=hop,
        tokenizer=draw(NAMES) + "@0123456789ab",
        shape=shape,
        tokens=pack_ids(ids.reshape(shape))[1],
        box=(*centre, draw(SIDES)),
        unit=unit,
        observed=draw(st.integers(0, 2**hop - 1)),
        reset=draw(st.booleans()),
    )


@settings(derandomize=True)
@given(packets())
def test_a_packet_comes_back_as_it_went(packet: Packet) -> None:
    frame = encode(packet)
    assert decode(frame) == packet
    assert encode(decode(frame)) == frame
    assert decode(frame, vocabulary=65536) == packet


def test_ids_keep_their_places() -> None:
    ids = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5) * 500
    shape, tokens = pack_ids(ids)
    packet = decode(encode(sample(shape=shape, tokens=tokens)))
    assert packet.ids().dtype == np.uint16
    np.testing.assert_array_equal(packet.ids(), ids)
    assert tokens[2:4] == (500).to_bytes(2, "little")


def test_another_msgpack_reads_it_as_the_table_says() -> None:
    topic, _, body = encode(sample()).partition(b"\0")
    assert topic == b"tok/demo/3"
    table: dict[str, Any] = {
        "v": 1,
        "stream": "demo",
        "track": 3,
        "epoch": EPOCH,
        "seq": 7,
        "frame": 56,
        "t": 1_000_000_000,
        "wall": 1_760_000_000_000_000_000,
        "fps": 30.0,
        "hop": 8,
        "tokenizer": "heatmap2d-f8@0123456789ab",
        "shape": [1, 1, 8, 8],
        "tokens": np.arange(64, dtype="<u2").tobytes(),
        "box": [320.0, 240.0, 200.0],
        "unit": "px",
        "observed": 0b11110111,
        "reset": False,
    }
    read = msgpack.unpackb(body)
    assert read == table
    assert {key: type(value) for key, value in read.items()} == {k: type(v) for k, v in table.items()}


def written(**changes: Any) -> bytes:
    """A frame written by another msgpack, with fields changed, or left out where the change is `...`."""
    fields = msgspec.structs.asdict(sample()) | changes
    topic = f"tok/{fields['stream']}/{fields['track']}\0".encode()
    return topic + bytes(msgpack.packb({key: value for key, value in fields.items() if value is not ...}))


def test_another_msgpack_writes_it_too_and_unknown_keys_are_ignored() -> None:
    assert decode(written()) == sample()
    assert decode(written(fps=30, box=[320, 240, 200])) == sample()
    assert decode(written(weather={"rain": [1, 2, 3]})) == sample()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"v": 2}, "wire version 2, this reader knows 1"),
        ({"v": 7, "epoch": "changed", "seq": None}, "wire version 7"),
        ({"v": ...}, "missing required field `v`"),
        ({"seq": ...}, "missing required field `seq`"),
        ({"stream": "a b"}, r"\$.stream"),
        ({"stream": ""}, r"\$.stream"),
        ({"stream": "s" * 65}, r"\$.stream"),
        ({"track": -1}, r"\$.track"),
        ({"seq": -1}, r"\$.seq"),
        ({"seq": 2**63}, r"\$.seq"),
        ({"seq": 1.5}, r"\$.seq"),
        ({"seq": True}, r"\$.seq"),
        ({"t": 2**63}, r"\$.t"),
        ({"epoch": b"short"}, r"\$.epoch"),
        ({"epoch": "0123456789abcdef"}, r"\$.epoch"),
        ({"fps": float("nan")}, "fps nan"),
        ({"fps": float("inf")}, "fps inf"),
        ({"fps": 0.0}, "fps 0"),
        ({"fps": 1.79e308}, "fps 1.79"),
        ({"fps": 1e-4}, "fps 0.0001"),
        ({"hop": 0}, r"\$.hop"),
        ({"hop": 65}, r"\$.hop"),
        ({"observed": 256}, "observed 0x100 .* hop of 8"),
        ({"observed": -1}, r"\$.observed"),
        ({"tokenizer": "heatmap2d-f8"}, r"\$.tokenizer"),
        ({"tokenizer": "../../etc@0123456789ab"}, r"\$.tokenizer"),
        ({"tokenizer": "heatmap2d-f8@0123456789ab\n"}, r"\$.tokenizer"),
        ({"shape": [1, 8, 8]}, r"\$.shape"),
        ({"shape": [1, 1, 8, 0]}, r"\$.shape"),
        ({"shape": [1, 1, 8, 9]}, r"128 bytes of tokens for a grid of \[1, 1, 8, 9\]"),
        ({"tokens": b""}, "0 bytes of tokens"),
        ({"tokens": [1, 2, 3]}, r"\$.tokens"),
        ({"box": [1.0, 2.0]}, r"\$.box"),
        ({"box": [1.0, 2.0, 3.0, 4.0]}, "px needs 3"),
        ({"unit": "cm"}, "cm needs 4"),
        ({"unit": "m"}, r"\$.unit"),
        ({"box": [1.0, 2.0, 0.0]}, "side above 0"),
        ({"box": [1.0, 2.0, -5.0]}, "side above 0"),
        ({"box": [float("nan"), 2.0, 3.0]}, "finite"),
        ({"box": [1.0, float("inf"), 3.0]}, "finite"),
        ({"reset": 1}, r"\$.reset"),
        ({"tokens": bytes(70_000)}, "frame of 70.* bytes, more than 65536"),
    ],
)
def test_a_field_out_of_order_is_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(PacketError, match=reason):
        decode(written(**changes))


def test_the_topic_must_fit_the_packet() -> None:
    _, _, body = encode(sample()).partition(b"\0")
    for topic in (b"tok/demo/4\0", b"tok/other/3\0", b"tok/demo/03\0", b"tok/demo/3/x\0"):
        with pytest.raises(PacketError, match="does not fit"):
            decode(topic + body)
    for frame in (b"", b"tok/demo/3", body, b"ctl/demo\0" + body, b"\0" + body):
        with pytest.raises(PacketError, match="no topic"):
            decode(frame)


def test_ids_beyond_the_vocabulary_are_refused() -> None:
    frame = encode(sample())  # ids 0..63
    assert decode(frame, vocabulary=64) == sample()
    with pytest.raises(PacketError, match="id 63 is outside the vocabulary of 63"):
        decode(frame, vocabulary=63)


def test_what_decode_refuses_encode_refuses_too() -> None:
    for changes in ({"epoch": b"x"}, {"observed": 2**8}, {"tokens": b"\0"}, {"seq": -1}, {"stream": "a/b"}):
        with pytest.raises(PacketError):
            encode(sample(**changes))


@pytest.mark.parametrize(
    "ids", [np.zeros((8, 8), int), np.zeros((1, 1, 8, 8)), np.full((1, 1, 1, 1), 65536), np.full((1, 1, 1, 1), -1)]
)
def test_ids_that_do_not_fit_are_refused(ids: np.ndarray[Any, Any]) -> None:
    with pytest.raises(PacketError, match="ids"):
        pack_ids(ids)


BOMBS = [
    b"",
    b"\x81",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x05",
    b"\x91" * 60_000,
    b"\x82\xa1v\x01\xa1z" + b"\x91" * 60_000,
    b"\x82\xa1v\x01\xa1z" + b"\x81\xa0" * 30_000,
    b"\x82\xa1v\x01\xa3box\xdc\xea\x60" + b"\x01" * 60_000,
    b"\x82\xa1v\x01\xa6stream\xa2\xff\xfe",
    b"\x81\xa1v\x01\xc1",
]


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
@pytest.mark.parametrize("topic", [b"tok/demo/3\0", b"ctl/demo\0"])
def test_bombs_are_refused(topic: bytes, bomb: bytes) -> None:
    with pytest.raises(PacketError):
        decode_message(topic + bomb)


STATUS = Status(
    stream="demo",
    epoch=EPOCH,
    uptime=1.5,
    people=2,
    counters={"frames dropped": 3, "packets": 9},
    interval=0.25,
    published=9,
    control="tcp://*:5556",
    tokenizer="heatmap2d-f8@0123456789ab",
)
GOODBYE = Goodbye(stream="demo", epoch=EPOCH, reason="end of recording", last=((0, 41), (7, 2)))
FRAMES = [encode(sample()), encode_control(STATUS), encode_control(GOODBYE)]


def sound_or_refused(frame: bytes) -> None:
    """Nothing but a PacketError comes of a bad frame, and what is accepted can be sent on."""
    try:
        message = decode_message(frame)
    except PacketError:
        return
    again = encode(message) if isinstance(message, Packet) else encode_control(message)
    assert decode_message(again) == message


@settings(derandomize=True)
@given(st.sampled_from([b"", b"tok/demo/3\0", b"ctl/demo\0"]), st.binary(max_size=300))
def test_random_bytes_raise_nothing_else(topic: bytes, noise: bytes) -> None:
    sound_or_refused(topic + noise)


@settings(derandomize=True, max_examples=1500)
@given(
    st.sampled_from(FRAMES),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    st.integers(0, 400),
    st.binary(max_size=6),
)
def test_mutated_messages_raise_nothing_else(
    frame: bytes, flips: list[tuple[int, int]], cut: int, inserted: bytes
) -> None:
    mutant = bytearray(frame)
    for place, value in flips:
        mutant[place % len(mutant)] = value
    mutant[cut:cut] = inserted
    sound_or_refused(bytes(mutant))
    sound_or_refused(bytes(mutant[:cut]))


@pytest.mark.parametrize("message", [STATUS, GOODBYE])
def test_control_messages_come_back_as_they_went(message: Status | Goodbye) -> None:
    frame = encode_control(message)
    assert frame.startswith(b"ctl/demo\0")
    assert decode_control(frame) == decode_message(frame) == message
    with pytest.raises(PacketError, match="does not fit"):
        decode_control(frame.replace(b"ctl/demo", b"ctl/omed"))


def test_another_msgpack_reads_control_messages() -> None:
    assert msgpack.unpackb(FRAMES[1].partition(b"\0")[2]) == {
        "type": "status",
        "v": 1,
        "stream": "demo",
        "epoch": EPOCH,
        "uptime": 1.5,
        "people": 2,
        "counters": {"frames dropped": 3, "packets": 9},
        "interval": 0.25,
        "published": 9,
        "control": "tcp://*:5556",
        "tokenizer": "heatmap2d-f8@0123456789ab",
    }
    assert msgpack.unpackb(FRAMES[2].partition(b"\0")[2]) == {
        "type": "goodbye",
        "v": 1,
        "stream": "demo",
        "more": False,
        "epoch": EPOCH,
        "reason": "end of recording",
        "last": [[0, 41], [7, 2]],
    }


def test_a_status_of_before_is_read() -> None:
    """Without the keys that were added."""
    fields = {"v": 1, "type": "status", "stream": "demo", "epoch": EPOCH, "uptime": 0.5, "people": 0, "counters": {}}
    status = decode_control(b"ctl/demo\0" + bytes(msgpack.packb(fields)))
    assert isinstance(status, Status)
    assert (status.interval, status.published, status.control, status.tokenizer) == (1.0, None, "", None)


@pytest.mark.parametrize(
    "changes",
    [
        {"uptime": float("nan")},
        {"uptime": -1.0},
        {"people": -1},
        {"counters": {"x": -1}},
        {"v": 3},
        {"interval": 0.0},
        {"interval": float("nan")},
        {"interval": 1e9},
        {"published": -1},
        {"tokenizer": "no label"},
        {"control": "tcp://evil.example:5556"},
        {"control": "tcp://*:0"},
        {"control": "udp://*:7"},
        {"control": "ipc://a b"},
    ],
)
def test_a_bad_status_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PacketError):
        encode_control(msgspec.structs.replace(STATUS, **changes))


@pytest.mark.parametrize("reason", ["x" * 201, "\x1b[2Jgone", "two\nlines", "\x9b31m"])
def test_a_goodbye_cannot_write_to_a_terminal(reason: str) -> None:
    with pytest.raises(PacketError, match=r"\$.reason"):
        encode_control(msgspec.structs.replace(GOODBYE, reason=reason))


@pytest.mark.parametrize("name", ["", "a/b", "a\0b", "a b", "-a", ".a", "x" * 65, "über", "a\n"])
def test_names_that_cannot_name_a_stream(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a stream: use 1 to 64"):
        check_stream_name(name)


@pytest.mark.parametrize("name", ["a", "demo", "cam-0.left_2", "7", "x" * 64])
def test_names_that_can(name: str) -> None:
    assert check_stream_name(name) == name


def test_the_limit_is_the_size_of_the_frame() -> None:
    assert len(encode(sample())) < 400 < MAX_FRAME


def test_the_specification_names_every_field_in_order() -> None:
    text = (Path(__file__).parents[3] / "docs" / "wire.md").read_text(encoding="utf-8")
    table = text.partition("## Packet")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    named = [key.strip(" `") for row in rows for key in row.split(",")]
    assert named == list(Packet.__struct_fields__)
