"""The TensorRT runtime: states on the device, buckets, recorded steps, release.

Without a GPU its logic runs against stand-ins (`gpu_fakes`); what only a GPU can show is marked `gpu`.
"""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.build import Wanted, _target, build_tensorrt
from engine.errors import EngineError
from engine.sample_windows import read_windows
from engine.session import open_decoder, open_encoder
from engine.spec import TokenizerFiles, load_tokenizer, shipped
from engine.state import DeviceState, join, split
from engine.tensorrt import cuda, cuda_graph
from engine.tensorrt import runtime as tensorrt
from engine.tensorrt.library import TensorRtLibrary
from engine.tensorrt.state_pool import BLOCK
from engine.verify import verify
from gpu_fakes import FakeGraph, fake_tensorrt
from stream.codec.encode import Pipeline
from stream.sources.base import PoseFrame
from stream.sources.demo import demo_pose
from tensorrt_rig import MOST, Rig, short


def why_no_gpu() -> str:
    """Why no engine can be built and run here, or nothing."""
    try:
        cuda.gpu()
        _target(())
    except EngineError as error:
        return str(error)
    return ""


def test_a_step_gives_what_the_graph_gives_whoever_comes_and_goes(rig: Rig, tokenizer: TokenizerFiles) -> None:
    verdict = verify(tokenizer, "tensorrt", "fp32", short(tokenizer), batches=(1, 3, 2 * MOST + 1))
    assert verdict.passed
    assert verdict.encoding.equal == 1
    assert verdict.decoding.box < 1e-5


def test_the_pipeline_makes_the_same_tokens_with_states_on_the_device(rig: Rig, tokenizer: TokenizerFiles) -> None:
    def hops(pipeline: Pipeline) -> list[Any]:
        out = []
        for frame in range(60):
            there = [who for who in range(9) if 3 * who <= frame < 3 * who + 40 or who == 0]
            people = {who: demo_pose(who, frame / 30) for who in there}
            flat = {who: type(pose)(pose.joints[:, :2], pose.confidence) for who, pose in people.items()}
            out += pipeline.push(PoseFrame(flat, frame / 30, frame))
        return out + pipeline.flush()

    one = hops(Pipeline(open_encoder(tokenizer, "tensorrt"), keyframe=3))
    two = hops(Pipeline(open_encoder(tokenizer, "onnxruntime"), keyframe=3))
    assert [(hop.track, hop.frame, hop.reset) for hop in one] == [(hop.track, hop.frame, hop.reset) for hop in two]
    assert (np.stack([hop.ids for hop in one]) == np.stack([hop.ids for hop in two])).mean() > 0.999


def test_the_two_sets_change_roles_and_the_same_people_copy_nothing(rig: Rig, tokenizer: TokenizerFiles) -> None:
    encoder = open_encoder(tokenizer, "tensorrt")
    x = read_windows(tokenizer.spec, []).people(3).keypoints
    state = encoder.init_state(3)
    go_on = np.zeros(3, bool)
    for hop in range(4):  # both roles of the bucket of 4 run as they are, then are recorded
        _, state = encoder.step(np.ascontiguousarray(x[:, hop]), go_on, state)
    moved, taken, recorded = rig.driver.copies, rig.driver.allocations, len(rig.graphs)
    before = [graph.launches for graph in rig.graphs]
    for hop in range(4, 10):
        _, state = encoder.step(np.ascontiguousarray(x[:, hop]), go_on, state)
    assert (rig.driver.copies, rig.driver.allocations, len(rig.graphs)) == (moved, taken, recorded)
    assert sorted(graph.launches - was for graph, was in zip(rig.graphs, before, strict=True)) == [0, 3, 3]  # 0: checks


def test_people_who_change_batches_cost_copies_but_no_allocation(rig: Rig, tokenizer: TokenizerFiles) -> None:
    encoder = open_encoder(tokenizer, "tensorrt")
    x = read_windows(tokenizer.spec, []).people(4).keypoints
    state = encoder.init_state(4)
    for hop in range(4):
        each = split(state, 4)
        state = join([*each[1:], each[0]])
        _, state = encoder.step(np.ascontiguousarray(x[:, hop]), np.zeros(4, bool), state)
    taken, moved = rig.driver.allocations, rig.driver.copies
    for hop in range(4, 8):
        each = split(state, 4)
        state = join([*each[1:], each[0]])
        _, state = encoder.step(np.ascontiguousarray(x[:, hop]), np.zeros(4, bool), state)
    assert rig.driver.allocations == taken
    assert rig.driver.copies == moved + 4 * 2 * 4 * len(tokenizer.spec.encoder_states)


def test_a_state_on_the_device_reads_like_one_of_the_host_and_goes_both_ways(
    rig: Rig, tokenizer: TokenizerFiles
) -> None:
    device, host = open_encoder(tokenizer, "tensorrt"), open_encoder(tokenizer, "onnxruntime")
    x = read_windows(tokenizer.spec, []).people(2).keypoints
    go_on = np.zeros(2, bool)
    here, there = host.init_state(2), device.init_state(2)
    assert isinstance(there, DeviceState)
    assert set(there) == set(here)
    assert all((there[path] == 0).all() for path in there)
    for hop in range(3):
        chunk = np.ascontiguousarray(x[:, hop])
        _, here = host.step(chunk, go_on, here)
        _, there = device.step(chunk, go_on, there)
    for path in here:
        np.testing.assert_allclose(there[path], here[path], atol=1e-5)
    chunk = np.ascontiguousarray(x[:, 3])
    moved, _ = host.step(chunk, go_on, dict(there))
    taken, _ = device.step(chunk, go_on, here)
    np.testing.assert_array_equal(moved.tokens, taken.tokens)
    with pytest.raises(ValueError, match="the state is of 2 streams, the batch of 1"):
        device.step(chunk[:1], go_on[:1], there)
    with pytest.raises(ValueError, match="twice"):
        device.step(chunk, go_on, join([split(there, 2)[0]] * 2))
    many = np.concatenate([chunk] * MOST)
    with pytest.raises(ValueError, match="twice"):  # though not twice in what is run at once
        device.step(many, np.zeros(2 * MOST, bool), join([there] * MOST))
    with pytest.raises(ValueError, match="at least one stream"):
        device.step(chunk[:0], go_on[:0], device.init_state(0))


def test_places_of_people_who_left_are_used_again(rig: Rig, tokenizer: TokenizerFiles) -> None:
    encoder = open_encoder(tokenizer, "tensorrt")
    x = np.ascontiguousarray(read_windows(tokenizer.spec, []).people(1).keypoints[:, 0])
    reset = np.zeros(1, bool)
    encoder.step(x, reset, encoder.init_state(1))
    taken = rig.driver.allocations
    first = encoder.step(x, reset, encoder.init_state(1))[0]
    for _ in range(3 * BLOCK):
        again, _ = encoder.step(x, reset, encoder.init_state(1))
        np.testing.assert_array_equal(again.tokens, first.tokens)
    assert rig.driver.allocations == taken


def test_all_is_released_in_order_the_context_last(rig: Rig, tokenizer: TokenizerFiles) -> None:
    encoder, decoder = open_encoder(tokenizer, "tensorrt"), open_decoder(tokenizer, "tensorrt")
    encoder.warm((1, 3))
    decoder.warm((2,))
    cuda._close()
    released = rig.driver.released
    assert released[-1] == "context"
    assert released.count("engine") == 2
    for kind in ("graph", "execution context"):
        assert released.index(kind) < released.index("engine") < released.index("memory")
    with pytest.raises(EngineError, match="released: open the tokenizer again"):
        decoder.warm((1,))
    with pytest.raises(EngineError, match="released: open the tokenizer again"):
        decoder.init_state(1)


def test_sessions_share_one_context(rig: Rig, tokenizer: TokenizerFiles) -> None:
    open_encoder(tokenizer, "tensorrt"), open_decoder(tokenizer, "tensorrt")
    assert len(cuda._found) == 1


def test_a_step_that_cannot_be_recorded_runs_as_it_is(
    rig: Rig, tokenizer: TokenizerFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(stream: int, work: Callable[[], None]) -> FakeGraph:
        raise EngineError("CUDA graphs: the driver answers with error 900")

    monkeypatch.setattr(cuda_graph, "record", refuse)
    verdict = verify(tokenizer, "tensorrt", "fp32", short(tokenizer), batches=(2,))
    assert verdict.encoding.equal == 1


def test_a_recording_that_the_gpu_ends_runs_as_it_is(
    rig: Rig, tokenizer: TokenizerFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(stream: int, work: Callable[[], None]) -> FakeGraph:
        raise rig.driver.Error("cuMemcpyHtoDAsync failed: operation failed due to a previous error during capture")

    monkeypatch.setattr(cuda_graph, "record", end)
    verdict = verify(tokenizer, "tensorrt", "fp32", short(tokenizer), batches=(2,))
    assert verdict.encoding.equal == 1


def test_work_that_cannot_be_recorded_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    class Library:
        def __getattr__(self, name: str) -> Callable[..., int]:
            def call(*arguments: Any) -> int:
                called.append(name)
                if name == "cuStreamEndCapture":
                    ctypes.cast(arguments[1], ctypes.POINTER(ctypes.c_void_p))[0] = ctypes.c_void_p(7)
                return 0

            return call

    def fail() -> None:
        raise EngineError("TensorRT fails")

    monkeypatch.setattr(cuda_graph, "driver_library", Library)
    with pytest.raises(EngineError, match="TensorRT fails"):
        cuda_graph.record(7, fail)
    assert called == ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphDestroy"]
    called.clear()
    cuda_graph.record(7, lambda: None).close()
    assert called[-2:] == ["cuGraphExecDestroy", "cuGraphDestroy"]


def test_memory_is_free_as_soon_as_nobody_holds_the_session(rig: Rig, tokenizer: TokenizerFiles) -> None:
    encoder = open_encoder(tokenizer, "tensorrt")
    encoder.warm((1, 2))
    gc.disable()
    try:
        del encoder
        assert not rig.driver.blocks
    finally:
        gc.enable()


def test_after_warming_up_a_live_step_prepares_nothing(rig: Rig, tokenizer: TokenizerFiles) -> None:
    encoder = open_encoder(tokenizer, "tensorrt")
    x = np.ascontiguousarray(read_windows(tokenizer.spec, []).people(4).keypoints[:, 0])
    encoder.warm((1, 2, 4))
    states = {people: encoder.init_state(people) for people in (1, 2, 4)}
    recorded, taken = len(rig.graphs), rig.driver.allocations
    assert recorded == 6
    for people in (4, 1, 2, 2, 1, 4):
        encoder.step(x[:people], np.zeros(people, bool), states[people])
    assert (len(rig.graphs), rig.driver.allocations) == (recorded, taken)


def test_both_flavours_run(rig: Rig, tokenizer: TokenizerFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    flavour = TensorRtLibrary("tensorrt_rtx", "1.7", fake_tensorrt(rig.driver, rtx=True))
    monkeypatch.setattr(tensorrt, "installed", lambda: [flavour])
    rig.change(flavour="tensorrt_rtx", version="1.7", gpu=None, capabilities=("8.6", "8.9"))
    verdict = verify(tokenizer, "tensorrt", "fp32", short(tokenizer), batches=(2,))
    assert verdict.encoding.equal == 1
    assert max(graph.launches for graph in rig.graphs) > 3


def test_an_engine_that_fits_goes_before_all_others(rig: Rig, tokenizer: TokenizerFiles) -> None:
    encoder = open_encoder(tokenizer)
    assert (encoder.backend, encoder.why) == ("tensorrt", "an engine for this GPU is here")


@pytest.mark.gpu
@pytest.mark.skipif(bool(why_no_gpu()), reason=f"building, running and verifying on a GPU: {why_no_gpu()}")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("name", shipped())
def test_on_a_gpu_an_engine_is_exact(
    name: str, precision: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINETOKEN_CACHE", str(tmp_path))
    tokenizer = load_tokenizer(name)
    build_tensorrt(tokenizer, Wanted(precision=precision, max_batch=16))
    assert verify(tokenizer, "tensorrt", precision, read_windows(tokenizer.spec, [])).passed
