"""docs/decoding.md: what it says of the decoder is so for every tokenizer that ships, and its snippet decodes."""

import re
import subprocess
import sys

import msgspec
import numpy as np
import onnxruntime
import pytest

from engine.spec import TokenizerSpec, load_tokenizer, shipped
from processes import ROOT
from stream import Tokenizer
from stream.sources.demo import demo_pose

PAGE = (ROOT / "docs" / "decoding.md").read_text(encoding="utf-8")
(SNIPPET,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def named(column: str) -> set[str]:
    table = PAGE.partition(f"| {column} |")[2].partition("\n\n")[0]
    return {name for line in table.splitlines() for name in re.findall(r"`([\w.]+)`", line.partition(" |")[0]) if name}


def test_every_key_of_a_configuration_is_on_the_page() -> None:
    assert named("key") == {field.name for field in msgspec.structs.fields(TokenizerSpec)}


@pytest.mark.parametrize("name", shipped())
def test_the_decoders_ports_are_those_of_the_page(name: str) -> None:
    tokenizer = load_tokenizer(name)
    decoder = onnxruntime.InferenceSession(str(tokenizer.graph("decoder")))
    states = tokenizer.spec.decoder_states
    for column, ports, state in (
        ("input", decoder.get_inputs(), "state"), ("output", decoder.get_outputs(), "new_state"),
    ):  # fmt: skip
        plain = named(column) - {f"{state}.PATH"}
        if not tokenizer.spec.predictive:
            plain -= {"box"}
        assert {port.name for port in ports} == plain | {f"{state}.{path}" for path in states}
        for port in ports:
            if port.name.startswith(state):
                assert tuple(port.shape[1:]) == states[port.name.removeprefix(f"{state}.")]


def test_the_snippet_decodes_what_the_tokenizer_decodes() -> None:
    done = subprocess.run([sys.executable, "-c", SNIPPET], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=100)
    assert done.stdout == "(8, 17, 2)\n", done.stderr
    held: dict[str, object] = {}
    exec(SNIPPET.replace("engine/pretrained", str(ROOT / "engine/pretrained")), held)
    decode = held["decode"]
    assert callable(decode)
    tokenizer = Tokenizer("heatmap2d-f8", "onnxruntime")
    tokens = tokenizer.encode(np.stack([demo_pose(1, frame / 30).joints for frame in range(48)])[..., :2])
    parts = [
        decode(ids.astype(np.int32), box, reset)
        for ids, box, reset in zip(tokens.ids, tokens.boxes, tokens.reset, strict=True)
    ]
    np.testing.assert_allclose(np.concatenate(parts), tokenizer.decode(tokens).joints, atol=1e-3)
