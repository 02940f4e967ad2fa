"""While a tokenizer is fetched, tried and opened, a reader waits no longer than it wants to."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from control_samples import Source
from engine.spec import load_tokenizer
from processes import Start
from stream.client import TokenStream
from stream.errors import TokenizerError
from tokenizer_samples import GRID, products, write_tokenizer
from wire_samples import PATIENCE

BOX = (100.0, 50.0, 80.0)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINETOKEN_CACHE", str(tmp_path / "kept"))


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[Source]:
    """A producer whose decoder takes for ever to open."""
    tokenizer = load_tokenizer(products(tmp_path / "folding", "one", 2048, 20_000))
    with Source(tokenizer=tokenizer) as source:
        source.publisher.tokenizer = tokenizer.spec.label
        yield source


def trials() -> list[psutil.Process]:
    return [each for each in psutil.Process().children(recursive=True) if "engine.trial" in " ".join(each.cmdline())]


def test_a_poll_takes_no_longer_than_it_was_told_to(hostile: Source) -> None:
    with TokenStream(hostile.address, decode=True) as stream:
        hostile.read(stream, lambda: bool(trials()))
        assert stream.opening
        assert stream.poll(0.01) is None
        assert stream.opening
    assert not trials()


def test_a_subscriber_ends_while_a_tokenizer_is_tried(hostile: Source, launch: Start) -> None:
    reader = launch("-m", "stream.subscriber", "--connect", hostile.address, "--decode", "--timeout", "1")
    deadline = time.monotonic() + PATIENCE
    while not trials():
        assert time.monotonic() < deadline
        hostile.publisher.status(0, {})
        time.sleep(0.02)
    time.sleep(1.2)  # longer than the silence that it bears: it knows what it waits for
    reader.send_signal(signal.SIGTERM)
    assert reader.wait(PATIENCE) == 0
    assert not trials()


def test_one_label_after_another_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.subscribe.opening.AT_ONCE", 2)
    write_tokenizer(tmp_path / "sound")
    tokenizer = load_tokenizer(tmp_path / "sound")
    hop = {"tokenizer": tokenizer.spec.label, "ids": np.full(GRID, 256), "box": BOX}
    with Source(tokenizer=tokenizer) as source, TokenStream(source.address, decode=True) as stream:
        source.read(stream, lambda: source.publisher.wait_for_subscriber(0.01))
        source.publish(1, **hop)
        assert len(source.read(stream, 1)) == 1
        for number, told in enumerate(["is not here", "one tokenizer after another", "one tokenizer after another"]):
            source.publish(1, **hop | {"tokenizer": f"other@{number:012x}"})
            with pytest.raises(TokenizerError, match=told):
                source.read(stream, 1)
        source.publish(1, **hop)
        assert len(source.read(stream, 1)) == 1


def test_a_decoder_is_open_before_the_first_packet(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "sound")
    tokenizer = load_tokenizer(tmp_path / "sound")
    label = tokenizer.spec.label
    with Source(tokenizer=tokenizer) as source, TokenStream(source.address, decode=True) as stream:
        source.publisher.tokenizer = label
        source.read(stream, lambda: label in stream.decoders)
        assert stream.total.received == 0
        source.publish(1, tokenizer=label, ids=np.full(GRID, 256), box=BOX)
        assert len(source.read(stream, 1)) == 1
