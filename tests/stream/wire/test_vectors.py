"""The test vectors, both ways: our bytes are theirs, and what they mean is what we read."""

import json
from typing import Any

import msgspec
import pytest

from make_vectors import FOLDER, plain, vectors
from stream.wire.packets import Packet, PacketError, decode_message, encode, encode_control
from stream.wire.requests import decode_reply, decode_request, encode_reply, encode_request

WRITTEN: list[dict[str, Any]] = json.loads((FOLDER / "vectors.json").read_text(encoding="utf-8"))


def read(kind: str, data: bytes) -> Any:
    return {"frame": decode_message, "request": decode_request, "reply": decode_reply}[kind](data)


def write(kind: str, message: Any) -> bytes:
    if kind == "frame":
        return encode(message) if isinstance(message, Packet) else encode_control(message)
    return encode_request(message) if kind == "request" else encode_reply(message)


def test_the_files_are_what_the_script_writes() -> None:
    made = vectors()
    assert [entry for entry, _ in made] == WRITTEN
    for entry, data in made:
        assert (FOLDER / entry["file"]).read_bytes() == data
    assert {path.name for path in FOLDER.glob("*.bin")} == {entry["file"] for entry in WRITTEN}


@pytest.mark.parametrize("entry", [entry for entry in WRITTEN if "means" in entry], ids=lambda entry: entry["file"])
def test_what_they_mean_is_what_we_read_and_write(entry: dict[str, Any]) -> None:
    data = (FOLDER / entry["file"]).read_bytes()
    message = read(entry["kind"], data)
    fields = plain(json.loads(json.dumps(msgspec.to_builtins(message, builtin_types=(bytes,)), default=plain)))
    known = {key: value for key, value in entry["means"].items() if key != "weather"}
    assert fields == known
    if "unknown-keys" not in entry["file"]:
        assert write(entry["kind"], message) == data


@pytest.mark.parametrize("entry", [entry for entry in WRITTEN if "refused" in entry], ids=lambda entry: entry["file"])
def test_what_is_to_be_refused_is_refused_for_its_reason(entry: dict[str, Any]) -> None:
    with pytest.raises(PacketError, match=f"(?i){entry['refused']}"):
        read(entry["kind"], (FOLDER / entry["file"]).read_bytes())
