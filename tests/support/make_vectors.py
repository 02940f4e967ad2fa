"""Writes tests/stream/wire/vectors: frames, requests and replies as bytes, and their meaning as JSON, for any language.

    python tests/support/make_vectors.py

vectors.json lists them: `file`, `kind` (frame, request or reply), and either `means`, the decoded map, or `refused`,
words of the reason. Bytes stand there as {"hex": ...}. A refused frame has to be refused by every reader.
"""

import json
from pathlib import Path
from typing import Any

import msgpack
import msgspec

from stream.wire.packets import Goodbye, Status, encode, encode_control
from stream.wire.requests import (
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
    encode_reply,
    encode_request,
)
from wire_samples import EPOCH, sample

FOLDER = Path(__file__).parents[1] / "stream" / "wire" / "vectors"
LABEL = "heatmap2d-f8@0123456789ab"
PX = sample(seq=0, frame=0, reset=True)
CM = sample(
    track=2**53 + 1,
    seq=2**63 - 1,
    frame=2**40,
    t=-5,
    wall=-1,
    fps=29.97,
    box=(-12.5, 90.0, 310.25, 220.0),
    unit="cm",
    hop=64,
    observed=2**64 - 1,
    shape=(2, 1, 1, 2),
    tokens=b"\x00\x00\xff\x01\x02\x01\xff\xff",
)
STATUS = Status(
    stream="demo",
    epoch=EPOCH,
    uptime=1.5,
    people=2,
    counters={"frames dropped": 3},
    interval=0.25,
    published=9,
    control="tcp://*:5556",
    tokenizer=LABEL,
)
GOODBYE = Goodbye(stream="demo", epoch=EPOCH, reason="source ended", last=((0, 41), (7, 2)))

REQUESTS: dict[str, Request] = {
    "ping": Ping(id=1, t=1_000),
    "info": Info(id=2),
    "snapshot": Snapshot(id=3, stream="demo", epoch=EPOCH, track=0, at=9),
    "replay": Replay(id=4, stream="demo", track=3, epoch=EPOCH, first=5, last=9),
    "files": Files(id=5, tokenizer=LABEL),
    "chunk": Chunk(id=6, tokenizer=LABEL, file="decoder.onnx", offset=262_144),
}
REPLIES: dict[str, Reply] = {
    "ping": Pong(id=1, t=1_000, received=2_000, sent=2_100, wall=1_760_000_000_000_000_000),
    "info": InfoReply(
        id=2,
        streams=(
            StreamInfo(
                stream="demo",
                epoch=EPOCH,
                epochs=(bytes(16), EPOCH),
                uptime=12.5,
                tokenizer=LABEL,
                fps=30.0,
                hop=8,
                tracks=2,
                packets=45,
                span=12.0,
                log=True,
            ),
        ),
    ),
    "snapshot": SnapshotReply(id=3, stream="demo", epoch=EPOCH, tracks=((0, 41, 40), (7, 2, 0)), more=False),
    "replay": ReplayReply(
        id=4,
        stream="demo",
        track=3,
        epoch=EPOCH,
        first=5,
        next=10,
        frames=(encode(sample()),),
        missing=((5, 6), (8, 9)),
    ),
    "files": FilesReply(id=5, tokenizer=LABEL, files=(FileInfo(name="decoder.onnx", size=104_777, sha256="ab" * 32),)),
    "chunk": ChunkReply(id=6, tokenizer=LABEL, file="decoder.onnx", offset=262_144, data=b"\x00\x01\xff"),
    "error": Refusal(id=7, code="busy", text="too many requests", retry=0.5),
}

SOUND = encode(sample())


def changed(**fields: Any) -> bytes:
    """Return a packet's frame with fields changed, or left out where the change is `...`."""
    topic, _, body = SOUND.partition(b"\0")
    table = msgpack.unpackb(body) | fields
    return topic + b"\0" + bytes(msgpack.packb({key: value for key, value in table.items() if value is not ...}))


REFUSED: dict[str, tuple[bytes, str]] = {
    "no-topic": (SOUND.partition(b"\0")[2], "no topic"),
    "no-nul": (b"tok/demo/3", "no topic"),
    "truncated": (SOUND[:-1], "truncated"),
    "trailing": (SOUND + b"\0", "trailing"),
    "too-long": (SOUND + bytes(65_536), "more than 65536"),
    "another-track": (SOUND.replace(b"tok/demo/3\0", b"tok/demo/4\0"), "does not fit"),
    "version-2": (changed(v=2, seq=None), "wire version 2"),
    "no-seq": (changed(seq=...), "seq"),
    "negative-seq": (changed(seq=-1), "seq"),
    "seq-beyond-63-bits": (changed(seq=2**63), "seq"),
    "boolean-seq": (changed(seq=True), "seq"),
    "short-epoch": (changed(epoch=b"short"), "epoch"),
    "text-epoch": (changed(epoch="0123456789abcdef"), "epoch"),
    "no-frame-rate": (changed(fps=0.0), "fps"),
    "frame-rate-that-no-number-holds": (changed(fps=1.7e308), "fps"),
    "not-a-number": (changed(fps=float("nan")), "fps"),
    "hop-65": (changed(hop=65), "hop"),
    "observed-beyond-hop": (changed(observed=256), "observed"),
    "grid-of-three": (changed(shape=[1, 8, 8]), "shape"),
    "too-few-tokens": (changed(tokens=b"\0\0"), "tokens"),
    "flat-box": (changed(box=[1.0, 2.0, 0.0]), "box"),
    "box-for-cm": (changed(unit="cm"), "box"),
    "unknown-unit": (changed(unit="m"), "unit"),
    "no-label": (changed(tokenizer="heatmap2d-f8"), "tokenizer"),
    "bomb": (b"tok/demo/3\0\x82\xa1v\x01\xa1z" + b"\x91" * 60_000, "recursion"),
}


def vectors() -> list[tuple[dict[str, Any], bytes]]:
    """Return every vector: its entry in vectors.json, and its bytes."""
    frames = {"packet-px": encode(PX), "packet-cm": encode(CM), "status": encode_control(STATUS)}
    frames["goodbye"] = encode_control(GOODBYE)
    # Whoever writes may use other widths of integers and floats, and add keys.
    frames["packet-unknown-keys"] = changed(weather={"rain": [1, 2]}, fps=30, box=[320, 240, 200])
    found = [({"file": f"{name}.bin", "kind": "frame", "means": meaning(data)}, data) for name, data in frames.items()]
    for kind, messages in (
        ("request", {name: encode_request(each) for name, each in REQUESTS.items()}),
        ("reply", {name: encode_reply(each) for name, each in REPLIES.items()}),
    ):
        for name, data in messages.items():
            found.append(({"file": f"{kind}-{name}.bin", "kind": kind, "means": meaning(data)}, data))
    for name, (data, reason) in REFUSED.items():
        found.append(({"file": f"refused-{name}.bin", "kind": "frame", "refused": reason}, data))
    return found


def meaning(data: bytes) -> Any:
    """Return the map that a message holds, by a msgpack library that is not ours."""
    return plain(msgpack.unpackb(data.partition(b"\0")[2] if data[:4] in (b"tok/", b"ctl/") else data))


def plain(value: Any) -> Any:
    """Return a value with its bytes as {"hex": ...}, so that JSON can hold it."""
    match value:
        case bytes():
            return {"hex": value.hex()}
        case dict():
            return {key: plain(each) for key, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
    return value


def main() -> None:
    """Write them."""
    FOLDER.mkdir(exist_ok=True)
    found = vectors()
    for entry, data in found:
        (FOLDER / entry["file"]).write_bytes(data)
    text = json.dumps([entry for entry, _ in found], indent=1)
    (FOLDER / "vectors.json").write_bytes(msgspec.json.format(text.encode(), indent=1) + b"\n")


if __name__ == "__main__":
    main()
