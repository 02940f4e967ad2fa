"""Predictive tokenizers in the live system: any first levels, a quality asked for, and lost packets."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.session import open_decoder, open_encoder
from engine.spec import TokenizerFiles
from predictive_samples import LEVELS, write_predictive
from stream import Tokenizer
from stream.codec.decode import FORETOLD_S, StreamDecoder
from stream.codec.encode import Hop, Pipeline
from stream.codec.inputs import levels_of, padded, present
from stream.codec.rate import Rate
from stream.motion.skeleton import J, Pose
from stream.sources.base import PoseFrame
from stream.wire.packets import Packet, PacketError, pack_ids


@pytest.fixture
def files(tmp_path: Path) -> TokenizerFiles:
    return write_predictive(tmp_path / "half-way")


@pytest.fixture
def tokenizer(files: TokenizerFiles) -> Tokenizer:
    return Tokenizer(files.folder, "onnxruntime")


def walk(frames: int = 80) -> np.ndarray:
    """A small body that goes to and fro in a box of about 100 px."""
    t = np.arange(frames)[:, None, None] / 30
    rng = np.random.default_rng(0)
    rest = rng.uniform(-40, 40, (1, J, 2))
    return np.asarray(rest + 300 + 25 * np.sin([[[3, 4]]] * t), np.float32)


def packet_of(hop: Hop, seq: int, files: TokenizerFiles, **changes: Any) -> Packet:
    shape, tokens = pack_ids(hop.ids)
    spec = files.spec
    fields: dict[str, Any] = {"stream": "s", "epoch": bytes(16), "seq": seq, "t": 1, "wall": 1, "fps": 30.0}
    fields |= {"hop": spec.hop, "tokenizer": spec.label, "shape": shape, "tokens": tokens, "unit": "px"}
    fields |= {name: getattr(hop, name) for name in ("track", "frame", "box", "observed", "reset")}
    return Packet(**fields | changes)


def test_levels_bound_the_ids_of_a_hop_and_the_error_falls_with_them(tokenizer: Tokenizer) -> None:
    errors = []
    for levels in range(1, LEVELS + 1):
        tokens = tokenizer.encode(walk(), levels=levels)
        assert set(tokens.levels) == {levels}
        middle = walk().mean(axis=1)
        errors.append(np.linalg.norm(tokenizer.decode(tokens).joints[:, 0] - middle[:80], axis=-1).mean())
    assert errors == sorted(errors, reverse=True)
    whole = tokenizer.encode(walk())
    assert whole.ids.dtype == np.uint16
    np.testing.assert_array_equal(whole.ids, tokenizer.encode(walk(), levels=LEVELS).ids)


def test_quality_takes_fewer_levels_where_little_happens(tokenizer: Tokenizer) -> None:
    still = np.repeat(walk(1), 160, axis=0)
    moving, resting = (tokenizer.encode(motion, quality=12.0) for motion in (walk(160), still))
    assert resting.levels.mean() < moving.levels.mean() < LEVELS
    assert moving.ids.dtype == np.int32
    finer = tokenizer.encode(walk(160), quality=2.0)
    assert finer.levels.mean() > moving.levels.mean()


@pytest.mark.parametrize("asked", [{}, {"levels": 2}, {"quality": 8.0}])
def test_frame_by_frame_equals_whole_bit_for_bit(tokenizer: Tokenizer, asked: dict[str, Any]) -> None:
    whole = tokenizer.encode(walk(), **asked)
    stream, back = tokenizer.stream(**asked), tokenizer.decode_stream()
    hops = [hop for joints in walk() for hop in stream.push(joints)] + stream.flush()
    np.testing.assert_array_equal(padded([hop.ids for hop in hops], LEVELS), whole.ids)
    joints = np.concatenate([back.push(hop).joints for hop in hops])
    np.testing.assert_array_equal(joints, tokenizer.decode(whole).joints)
    batch = tokenizer.encode_batch([walk(), walk(48)], **asked)
    np.testing.assert_array_equal(batch[0].ids, whole.ids)


def test_rates_that_a_tokenizer_does_not_have_are_refused(tokenizer: Tokenizer) -> None:
    for asked, why in (
        ({"levels": LEVELS + 1}, "levels 4: half-way has 3"),
        ({"levels": 0}, "levels 0: 1 or more"),
        ({"quality": 0.0}, "quality 0: a mean joint error above 0, px or cm"),
        ({"quality": float("nan")}, "quality nan"),
    ):
        with pytest.raises(ValueError, match=why):
            tokenizer.encode(walk(), **asked)
    with pytest.raises(ValueError, match="heatmap2d-f8 always uses all of its levels"):
        Tokenizer("heatmap2d-f8", "onnxruntime").encode(walk(), levels=1)


def test_the_rate_of_a_pipeline_can_be_changed_while_it_runs(files: TokenizerFiles) -> None:
    pipeline = Pipeline(open_encoder(files, "onnxruntime"), rate=Rate(levels=1))
    hops = []
    for n, joints in enumerate(walk(32)):
        if n == 16:
            pipeline.rate = Rate(levels=3)
        hops += pipeline.push(PoseFrame({0: Pose(joints, np.ones(J, np.float32))}, n / 30, n))
    assert [len(hop.ids) for hop in hops] == [1, 1, 3, 3]
    with pytest.raises(ValueError, match="has 3"):
        pipeline.rate = Rate(levels=9)


def test_packets_of_fewer_levels_decode_as_the_hops_do(files: TokenizerFiles, tokenizer: Tokenizer) -> None:
    hops = list(tokenizer.encode(walk(), quality=8.0).hops())
    decoder = StreamDecoder(lambda name: open_decoder(files, "onnxruntime"), str(files.folder))
    (expected,) = tokenizer.decode_hops([hops])
    for seq, (hop, motion) in enumerate(zip(hops, expected, strict=True)):
        np.testing.assert_array_equal(decoder.decode(packet_of(hop, seq, files)).joints, motion.joints)
    too_many = np.zeros((LEVELS + 1, 1, 1, 1), np.uint16)
    shape, ids = pack_ids(too_many)
    with pytest.raises(PacketError, match=r"grid \[4, 1, 1, 1\] .* do not fit half-way"):
        decoder.decode(packet_of(hops[0], 99, files, shape=shape, tokens=ids))


def test_over_lost_packets_the_motion_goes_on_and_comes_back(files: TokenizerFiles, tokenizer: Tokenizer) -> None:
    hops = list(tokenizer.encode(walk(160)).hops())
    (expected,) = tokenizer.decode_hops([hops])
    for lost in range(1, 10):
        decoder = StreamDecoder(lambda name: open_decoder(files, "onnxruntime"), str(files.folder))
        apart = []
        for seq, (hop, motion) in enumerate(zip(hops, expected, strict=True)):
            if seq != lost:
                decoded = decoder.decode(packet_of(hop, seq, files))
                apart.append(float(np.abs(decoded.joints - motion.joints).max()))
        assert max(apart[:lost]) == 0
        after = apart[lost:]
        assert all(later <= 0.51 * now + 1e-4 for now, later in pairwise(after))
        assert after[8] < 0.2


def test_after_more_than_a_second_the_state_begins_afresh(files: TokenizerFiles, tokenizer: Tokenizer) -> None:
    hops = list(tokenizer.encode(walk(240)).hops())
    gone = int(FORETOLD_S * 30 / files.spec.hop) + 1
    decoder = StreamDecoder(lambda name: open_decoder(files, "onnxruntime"), str(files.folder))
    decoder.decode(packet_of(hops[0], 0, files))
    late = decoder.decode(packet_of(hops[gone + 1], gone + 1, files))
    fresh = StreamDecoder(lambda name: open_decoder(files, "onnxruntime"), str(files.folder))
    np.testing.assert_array_equal(late.joints, fresh.decode(packet_of(hops[gone + 1], gone + 1, files)).joints)


def test_only_the_last_levels_may_be_missing() -> None:
    ids = np.array([[3, 4, -1], [-1, -1, -1], [1, 2, 3]])[:, :, None, None, None]
    assert levels_of(ids).tolist() == [2, 0, 3]
    assert [each.ravel().tolist() for each in present(ids)] == [[3, 4], [], [1, 2, 3]]
    with pytest.raises(ValueError, match="only the last levels"):
        levels_of(ids[:, ::-1])
