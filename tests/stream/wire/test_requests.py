"""Requests and replies come back as they went, and nothing but a PacketError comes of bad ones."""

from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.wire.packets import PacketError
from stream.wire.requests import (
    MAX_REPLY,
    MAX_REQUEST,
    Chunk,
    ChunkReply,
    FileInfo,
    Files,
    FilesReply,
    Info,
    InfoReply,
    Ping,
    Pong,
    Refusal,
    Replay,
    ReplayReply,
    Reply,
    Request,
    Snapshot,
    SnapshotReply,
    StreamInfo,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
    request_id,
)
from wire_samples import EPOCH

COUNTS = st.integers(0, 2**63 - 1)
NANOSECONDS = st.integers(-(2**63), 2**63 - 1)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
LABELS = NAMES.map(lambda name: f"{name}@0123456789ab")
EPOCHS = st.binary(min_size=16, max_size=16)
SPANS = st.tuples(COUNTS, COUNTS).map(sorted)

REQUESTS: st.SearchStrategy[Request] = st.one_of(
    st.builds(Ping, id=COUNTS, t=NANOSECONDS),
    st.builds(Info, id=COUNTS),
    st.builds(Snapshot, id=COUNTS, stream=NAMES, epoch=st.none() | EPOCHS, track=COUNTS, at=st.none() | COUNTS),
    st.builds(
        lambda span, **fields: Replay(first=span[0], last=span[1], **fields),
        span=SPANS,
        id=COUNTS,
        stream=NAMES,
        track=COUNTS,
        epoch=EPOCHS,
    ),
    st.builds(Files, id=COUNTS, tokenizer=LABELS),
    st.builds(Chunk, id=COUNTS, tokenizer=LABELS, file=NAMES, offset=COUNTS),
)

REPLIES: list[Reply] = [
    Pong(id=1, t=-5, received=6, sent=7, wall=8),
    InfoReply(
        id=2,
        streams=(
            StreamInfo(
                stream="demo",
                epoch=EPOCH,
                epochs=(bytes(16), EPOCH),
                uptime=1.5,
                tokenizer="a@0123456789ab",
                fps=30.0,
                hop=8,
                tracks=2,
                packets=100,
                span=60.0,
                log=True,
            ),
        ),
    ),
    SnapshotReply(id=3, stream="demo", epoch=EPOCH, tracks=((0, 41, 40), (7, 2, 0)), more=False),
    ReplayReply(id=4, stream="demo", track=0, epoch=EPOCH, first=3, next=9, frames=(b"abc",), missing=((3, 4), (6, 8))),
    FilesReply(id=5, tokenizer="a@0123456789ab", files=(FileInfo(name="config.json", size=9, sha256="ab" * 32),)),
    ChunkReply(id=6, tokenizer="a@0123456789ab", file="config.json", offset=0, data=b"{}"),
    Refusal(id=7, code="busy", text="too many requests", retry=0.5),
]


@settings(derandomize=True)
@given(REQUESTS)
def test_a_request_comes_back_as_it_went(request_: Request) -> None:
    data = encode_request(request_)
    assert decode_request(data) == request_
    assert request_id(data) == request_.id
    assert len(data) < MAX_REQUEST


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: type(reply).__name__)
def test_a_reply_comes_back_as_it_went(reply: Reply) -> None:
    assert decode_reply(encode_reply(reply)) == reply
    changed = msgpack.unpackb(encode_reply(reply)) | {"weather": [1, 2]}
    assert decode_reply(msgpack.packb(changed)) == reply
    with pytest.raises(PacketError, match="wire version 9"):
        decode_reply(msgpack.packb(changed | {"v": 9}))


@pytest.mark.parametrize(
    ("reply", "changes"),
    [
        (REPLIES[1], {"streams": [{"stream": "demo"}]}),
        (REPLIES[2], {"tracks": [[0, 1]]}),
        (REPLIES[2], {"tracks": [[0, 1, 2]] * 1001}),
        (REPLIES[3], {"missing": [[4, 3]]}),
        (REPLIES[3], {"missing": [[2, 4]]}),
        (REPLIES[3], {"missing": [[3, 9]]}),
        (REPLIES[3], {"missing": [[5, 6], [3, 4]]}),
        (REPLIES[3], {"frames": ["text"]}),
        (REPLIES[3], {"frames": [b""] * 65}),
        (REPLIES[4], {"files": [{"name": "../../etc", "size": 1, "sha256": "ab" * 32}]}),
        (REPLIES[4], {"files": [{"name": "a", "size": 1, "sha256": "xy"}]}),
        (REPLIES[5], {"data": bytes(300_000)}),
        (REPLIES[5], {"data": bytes(MAX_REPLY)}),
        (REPLIES[6], {"retry": -1.0}),
        (REPLIES[6], {"retry": float("nan")}),
        (REPLIES[6], {"code": "why"}),
        (REPLIES[6], {"text": "\x1b[2J"}),
    ],
)
def test_a_reply_out_of_order_is_refused(reply: Reply, changes: dict[str, Any]) -> None:
    with pytest.raises(PacketError):
        decode_reply(msgpack.packb(msgpack.unpackb(encode_reply(reply)) | changes))


def test_the_specification_names_every_request_and_field() -> None:
    text = (Path(__file__).parents[3] / "docs" / "wire.md").read_text(encoding="utf-8")
    section = text.partition("## The control socket")[2].partition("\n## ")[0]
    rows = {row.split("|")[1].strip(" `"): row for row in section.splitlines() if row.startswith("| `")}
    for request in (Ping, Info, Snapshot, Replay, Files, Chunk):
        assert all(f"`{field}`" in rows[str(request.__struct_config__.tag)] for field in request.__struct_fields__[2:])
    for reply in (Pong, InfoReply, SnapshotReply, ReplayReply, FilesReply, ChunkReply):
        assert all(f"`{field}`" in rows[str(reply.__struct_config__.tag)] for field in reply.__struct_fields__[2:])
    for field in (*StreamInfo.__struct_fields__, *Refusal.__struct_fields__[2:]):
        assert f"`{field}`" in section


def test_what_would_be_refused_is_not_sent() -> None:
    with pytest.raises(PacketError):
        encode_request(Replay(id=0, stream="demo", track=0, epoch=EPOCH, first=2, last=1))
    with pytest.raises(PacketError):
        encode_request(msgspec.structs.replace(Info(id=0), id=-1))


@settings(derandomize=True, max_examples=1000)
@given(
    st.sampled_from([encode_reply(reply) for reply in REPLIES] + [encode_request(Info(id=3))]),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    st.integers(0, 400),
    st.binary(max_size=6),
)
def test_mutated_messages_raise_nothing_else(
    data: bytes, flips: list[tuple[int, int]], cut: int, inserted: bytes
) -> None:
    mutant = bytearray(data)
    for place, value in flips:
        mutant[place % len(mutant)] = value
    mutant[cut:cut] = inserted
    for attempt in (bytes(mutant), bytes(mutant[:cut])):
        for decode_any in (decode_reply, decode_request):
            try:
                decode_any(attempt)
            except PacketError:
                continue
        request_id(attempt)
