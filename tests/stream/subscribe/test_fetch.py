"""A reader on an empty machine needs nothing but the address: the tokenizer comes from the producer, checked."""

import os
import shutil
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import pytest

from control_samples import Relay, Source
from engine.spec import TokenizerFiles, load_tokenizer, write_sums
from stream.client import Counters, TokenStream
from stream.errors import TokenizerError
from stream.subscribe.control_client import Asker
from stream.subscribe.fetch import fetch_tokenizer, find_tokenizer
from tokenizer_samples import GRID, expected, write_tokenizer

BOX = (100.0, 50.0, 80.0)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TokenizerFiles:
    folder = tmp_path_factory.mktemp("tokenizers") / "running-sum"
    write_tokenizer(folder)
    (folder / "README.md").write_text("# running sum\n", encoding="utf-8")
    return load_tokenizer(folder)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a machine that has nothing yet."""
    monkeypatch.setenv("KINETOKEN_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept" / "tokenizers"


@pytest.fixture
def source(tokenizer: TokenizerFiles) -> Iterator[Source]:
    with Source(tokenizer=tokenizer) as source:
        yield source


def place(total: float) -> float:
    return 100 + 80 * (total - 0.5)


def test_the_files_come_over_the_wire_and_decode(source: Source, tokenizer: TokenizerFiles, cache: Path) -> None:
    hop = {"tokenizer": tokenizer.spec.label, "ids": np.full(GRID, 256), "box": BOX}
    with TokenStream(source.address, decode=True) as stream:
        source.read(stream, lambda: source.publisher.wait_for_subscriber(0.01))
        source.publish(3, **hop)
        for number, (packet, motion) in enumerate(islice(stream.motions(), 3)):
            joints, _ = expected(packet.ids(), 0.05 * number)
            np.testing.assert_allclose(motion.joints[..., 0], place(joints[0, 0, 0]), atol=1e-3)
        assert list(stream.decoders) == [tokenizer.spec.label]
    (folder,) = cache.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert (folder / "README.md").read_text(encoding="utf-8") == "# running sum\n"
    for file in tokenizer.folder.iterdir():
        assert (folder / file.name).read_bytes() == file.read_bytes()


def test_what_was_fetched_is_not_fetched_again(source: Source, tokenizer: TokenizerFiles, cache: Path) -> None:
    with Asker(source.control.address) as asker:
        folder = fetch_tokenizer(tokenizer.spec.label, asker, cache)
        asked = source.control.counters.requests
        assert fetch_tokenizer(tokenizer.spec.label, asker, cache) == folder
        assert source.control.counters.requests == asked + 1


def test_a_shipped_tokenizer_is_taken_from_here(source: Source, cache: Path) -> None:
    with Asker(source.control.address) as asker:
        assert find_tokenizer(load_tokenizer("heatmap2d-f8").spec.label, asker) == "heatmap2d-f8"
    assert source.control.counters.requests == 0
    assert find_tokenizer("elsewhere@0123456789ab", None) == "elsewhere"


def test_large_files_come_in_pieces(cache: Path) -> None:
    shipped = load_tokenizer("heatmap2d-f8")
    with Source(tokenizer=shipped) as source, Asker(source.control.address) as asker:
        folder = fetch_tokenizer(shipped.spec.label, asker, cache)
        assert load_tokenizer(folder).spec == shipped.spec
        assert source.control.counters.requests > 50


def test_a_tokenizer_that_the_producer_has_not_is_an_error_that_says_so(source: Source, cache: Path) -> None:
    with (
        Asker(source.control.address) as asker,
        pytest.raises(
            TokenizerError,
            match=r"other@0123456789ab is not here and .* \(no tokenizer other@0123456789ab here\): .* --tok",
        ),
    ):
        fetch_tokenizer("other@0123456789ab", asker, cache)
    assert not cache.exists() or not any(cache.iterdir())


def test_files_changed_on_the_way_are_refused(tokenizer: TokenizerFiles, cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(tokenizer.folder, folder)
    changed = load_tokenizer(folder)
    with Source(tokenizer=changed) as source, Asker(source.control.address) as asker:
        source.control._answers._listed(changed.spec.label)  # hashed before the change
        (folder / "decoder.onnx").write_bytes(b"x" * (folder / "decoder.onnx").stat().st_size)
        with pytest.raises(TokenizerError, match=r"decoder\.onnx of running-sum@.* came damaged"):
            fetch_tokenizer(changed.spec.label, asker, cache)
    assert not any(cache.iterdir())


def test_files_that_contradict_each_other_are_refused(tokenizer: TokenizerFiles, cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(tokenizer.folder, folder)
    changed = load_tokenizer(folder)
    (folder / "decoder.onnx").write_bytes(b"another decoder")
    with (
        Source(tokenizer=changed) as source,
        Asker(source.control.address) as asker,
        pytest.raises(TokenizerError, match=r"decoder\.onnx is damaged"),
    ):
        fetch_tokenizer(changed.spec.label, asker, cache)
    assert not any(cache.iterdir())


def test_a_cache_that_cannot_be_written_is_named(source: Source, tokenizer: TokenizerFiles, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with Asker(source.control.address) as asker, pytest.raises(TokenizerError, match="cannot keep the tokenizer"):
        fetch_tokenizer(tokenizer.spec.label, asker, tmp_path / "file" / "cache")


def test_joining_late_decodes_exactly_from_the_first_packet(
    source: Source, tokenizer: TokenizerFiles, cache: Path
) -> None:
    hop = {"tokenizer": tokenizer.spec.label, "ids": np.full(GRID, 256), "box": BOX}
    source.publish(4, **hop)
    source.publish(1, **hop, reset=True)
    source.publish(2, **hop)
    with TokenStream(source.address, decode=True) as stream:
        source.read(stream, lambda: stream.clock("demo") is not None)
        source.publish(1, **hop)
        (packet, motion), *_ = islice(stream.motions(), 1)
        assert packet.seq == 7
        np.testing.assert_allclose(motion.joints[..., 0], place(0.05 * 4), atol=1e-3)  # four since the reset
        assert stream.total == Counters(received=1)


def test_a_repaired_gap_leaves_the_state_whole(source: Source, tokenizer: TokenizerFiles, cache: Path) -> None:
    hop = {"tokenizer": tokenizer.spec.label, "ids": np.full(GRID, 256), "box": BOX}
    with (
        Relay(source.address, lambda packet: packet.seq in {2, 3}) as relay,
        TokenStream(relay.address, decode=True) as stream,
    ):
        source.read(stream, lambda: source.publisher.wait_for_subscriber(0.01))
        source.publish(6, **hop)
        motions = [motion for _, motion in islice(stream.motions(), 6)]
    for number, motion in enumerate(motions, start=1):
        np.testing.assert_allclose(motion.joints[..., 0], place(0.05 * number), atol=1e-3)


def test_an_unknown_tokenizer_is_raised_and_reading_may_go_on(
    source: Source, tokenizer: TokenizerFiles, cache: Path
) -> None:
    with TokenStream(source.address, decode=True) as stream:
        source.read(stream, lambda: source.publisher.wait_for_subscriber(0.01))
        source.publish(1, tokenizer="other@0123456789ab")
        source.publish(1, tokenizer="other@0123456789ab")
        source.publish(1, tokenizer=tokenizer.spec.label)
        for _ in range(2):
            with pytest.raises(TokenizerError, match="other@0123456789ab"):
                source.read(stream, 1)
        assert [packet.seq for packet in source.read(stream, 1)] == [2]
        assert stream.total == Counters(received=1, invalid=2)


def test_the_decoder_is_open_before_packets_are_asked_for(
    source: Source, tokenizer: TokenizerFiles, cache: Path
) -> None:
    source.publisher.tokenizer = tokenizer.spec.label
    opened: list[bool] = []
    with TokenStream(source.address, decode=True) as stream:

        def subscribed() -> bool:
            heard = source.publisher.wait_for_subscriber(0.01)
            opened.append(bool(stream.decoders))
            return heard

        source.read(stream, subscribed)
        assert opened[-1]
        assert list(stream.decoders) == [tokenizer.spec.label]
        source.publish(1, tokenizer=tokenizer.spec.label, ids=np.full(GRID, 256), box=BOX)
        assert len(list(islice(stream.motions(), 1))) == 1


def test_joints_are_for_streams_that_decode() -> None:
    with TokenStream("tcp://127.0.0.1:9") as stream, pytest.raises(ValueError, match="decode=True"):
        next(stream.motions())


def test_a_graph_that_could_loop_is_neither_kept_nor_run(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "looping"
    write_tokenizer(folder)
    graph = onnx.load(folder / "decoder.onnx")
    graph.graph.node.append(onnx.helper.make_node("Loop", ["", ""], ["never"], body=onnx.GraphProto()))
    onnx.save(graph, folder / "decoder.onnx")
    write_sums(folder)
    hostile = load_tokenizer(folder)
    with (
        Source(tokenizer=hostile) as source,
        Asker(source.control.address) as asker,
        pytest.raises(TokenizerError, match="loops or branches"),
    ):
        fetch_tokenizer(hostile.spec.label, asker, cache)
    assert not any(cache.iterdir())


def test_what_was_used_longest_ago_makes_room(
    source: Source, tokenizer: TokenizerFiles, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.subscribe.fetch.KEPT", 3)
    cache.mkdir(parents=True)
    for age, name in enumerate(["newest", "older", "oldest"]):
        (cache / name).mkdir()
        (cache / name / "file").write_bytes(bytes(10))
        os.utime(cache / name, (1e9 - age, 1e9 - age))
    with Asker(source.control.address) as asker:
        folder = fetch_tokenizer(tokenizer.spec.label, asker, cache)
    assert {each.name for each in cache.iterdir()} == {"newest", "older", folder.name}
    monkeypatch.setattr("stream.subscribe.fetch.KEPT_BYTES", 15)
    shutil.rmtree(folder)
    with Asker(source.control.address) as asker:
        fetch_tokenizer(tokenizer.spec.label, asker, cache)
    assert [each.name for each in cache.iterdir()] == [folder.name]
