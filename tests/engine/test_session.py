"""TokenizerNetwork directories and sessions: what is refused and how, and the exactness of what runs."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import TokenizerError
from engine.sample_windows import usual_added
from engine.session import Backend, Decoder, Encoder, open_decoder, open_encoder
from engine.spec import TokenizerSpec, load_tokenizer, sha256, shipped, write_sums
from stream.motion.heatmap import draw
from training.export import export_network
from training.model.tokenizer import ModelConfig, TokenizerNetwork

BACKENDS: tuple[Backend, ...] = ("onnxruntime", "openvino")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small tokenizer of random weights, exported in both forms of input."""
    torch.manual_seed(0)
    network = TokenizerNetwork(ModelConfig(grid=32, frame_channels=32, token_channels=32, token_blocks=1)).eval()
    codebook: Any = network.quantizer._codebook
    codebook.initted.fill_(True)
    codebook.embed.copy_(torch.nn.functional.normalize(torch.randn_like(codebook.embed), dim=-1))
    folder = tmp_path_factory.mktemp("tokenizers")
    for form in ("keypoints", "heatmaps"):
        export_network(network, f"small-{form}", folder / form, form)
    return {form: folder / form for form in ("keypoints", "heatmaps")}


@pytest.fixture
def copy(small: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(small["keypoints"], tmp_path / "copy"))


def motion(spec: TokenizerSpec, people: int, hops: int, seed: int = 0) -> NDArray[np.float32]:
    """Smooth random keypoints [people, hops * hop, 17, D + 1], some joints missing for a while."""
    rng = np.random.default_rng(seed)
    start = rng.uniform(0.3, 0.7, (people, 1, 17, spec.dims))
    steps = rng.normal(0, 0.004, (people, hops * spec.hop, 17, spec.dims)).cumsum(axis=1)
    there = np.ones((people, hops * spec.hop, 17, 1))
    there[:, 5:12, 9] = 0
    keypoints = np.concatenate([np.clip(start + steps, 0.02, 0.98), np.ones_like(there)], axis=-1) * there
    return keypoints.astype(np.float32)


def encode(encoder: Encoder, x: NDArray[np.float32], reset_at: int | None = None) -> NDArray[np.int32]:
    """Tokens [people, hops, L, t, h, w] of whole hops, one step each."""
    hop, state, out = encoder.spec.hop, encoder.init_state(len(x)), []
    added = usual_added(encoder.spec, "encoder", len(x))
    for n in range(x.shape[1] // hop):
        chunk = x[:, n * hop : (n + 1) * hop]
        if encoder.spec.input == "heatmaps":
            chunk = draw(chunk, encoder.spec.grid, encoder.spec.sigma)
        encoded, state = encoder.step(chunk, np.full(len(x), n == reset_at), state, **added)
        out.append(encoded.tokens)
    return np.stack(out, axis=1)


def decode(decoder: Decoder, tokens: NDArray[np.int32], reset_at: int | None = None) -> NDArray[np.float32]:
    """Joints [people, frames, 17, D]."""
    state, out = decoder.init_state(len(tokens)), []
    added = usual_added(decoder.spec, "decoder", len(tokens))
    for n in range(tokens.shape[1]):
        decoded, state = decoder.step(tokens[:, n], np.full(len(tokens), n == reset_at), state, **added)
        out.append(decoded.joints)
        assert ((decoded.confidence >= 0) & (decoded.confidence <= 1)).all()
    return np.concatenate(out, axis=1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", shipped())
def test_shipped_tokenizers_stream_exactly(name: str, backend: Backend) -> None:
    encoder, decoder = open_encoder(name, backend), open_decoder(name, backend)
    x = motion(encoder.spec, people=3, hops=6)
    tokens = encode(encoder, x)
    joints = decode(decoder, tokens)
    hop = encoder.spec.hop
    # Prefix: what comes later, and how many come along, changes nothing.
    changed = x.copy()
    changed[:, 4 * hop :, :, 0] *= 0.8
    np.testing.assert_array_equal(encode(encoder, changed)[:, :4], tokens[:, :4])
    np.testing.assert_array_equal(encode(encoder, x[1:2]), tokens[1:2])
    np.testing.assert_allclose(decode(decoder, tokens[1:2, :4]), joints[1:2, : 4 * hop], atol=1e-5)
    # Reset in the middle equals a fresh start there.
    np.testing.assert_array_equal(encode(encoder, x, reset_at=3)[:, 3:], encode(encoder, x[:, 3 * hop :], reset_at=0))
    np.testing.assert_allclose(
        decode(decoder, tokens, reset_at=3)[:, 3 * hop :], decode(decoder, tokens[:, 3:], reset_at=0), atol=1e-5
    )


@pytest.mark.parametrize("name", shipped())
def test_any_ids_decode_to_a_body_within_bounds(name: str) -> None:
    decoder = open_decoder(name, "onnxruntime")
    spec, people = decoder.spec, 4

    @settings(max_examples=8, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1), hops=st.integers(1, 12), one=st.booleans(), apart=st.floats(0, 1e4))
    def check(seed: int, hops: int, one: bool, apart: float) -> None:
        rng = np.random.default_rng(seed)
        state = decoder.init_state(people)
        for _ in range(hops):
            ids = rng.integers(0, spec.vocabulary, (people, *spec.token_grid))
            if one:
                ids[:] = ids.flat[0]
            added = usual_added(spec, "decoder", people)
            if spec.predictive:
                ids[np.arange(spec.token_grid[0]) >= rng.integers(0, spec.token_grid[0] + 1, (people, 1))] = -1
                added["box"] = added["box"] + rng.uniform(0, apart, added["box"].shape).astype(np.float32)
            decoded, state = decoder.step(ids, rng.random(people) < 0.2, state, **added)
            assert np.isfinite(decoded.joints).all()
            assert np.abs(decoded.joints - 0.5).max() <= (2 if spec.predictive else 0.5) + 1e-5
            assert ((decoded.confidence >= 0) & (decoded.confidence <= 1)).all()

    check()


@pytest.mark.parametrize("name", ["predictive2d-f8"])
def test_backends_stay_together_over_ten_minutes(name: str) -> None:
    spec = load_tokenizer(name).spec
    x = motion(spec, people=4, hops=12)
    encoder = open_encoder(name, "onnxruntime")
    decoders = [open_decoder(name, backend) for backend in BACKENDS]
    live, added = encoder.init_state(4), usual_added(spec, "encoder", 4)
    states = [decoder.init_state(4) for decoder in decoders]
    box = usual_added(spec, "decoder", 4)
    millimetres = 10 * float(box["box"][0, -1])
    for number in range(600 * 30 // spec.hop):
        at = number % 22
        at = at if at < 12 else 22 - at  # there and back, without a jump
        window = x[:, at * spec.hop : (at + 1) * spec.hop]
        encoded, live = encoder.step(window, np.full(4, number == 0), live, **added)
        joints = []
        for row, decoder in enumerate(decoders):
            decoded, states[row] = decoder.step(encoded.tokens, np.full(4, number == 0), states[row], **box)
            joints.append(decoded.joints)
        assert millimetres * np.abs(joints[0] - joints[1]).max() < 0.1


@pytest.mark.parametrize("name", shipped())
def test_backends_agree(name: str) -> None:
    spec = load_tokenizer(name).spec
    x = motion(spec, people=8, hops=10)
    one, other = (encode(open_encoder(name, backend), x) for backend in BACKENDS)
    assert (one == other).mean() >= 0.999
    apart = [decode(open_decoder(name, backend), one) for backend in BACKENDS]
    np.testing.assert_allclose(apart[0], apart[1], atol=1e-4)


@pytest.mark.parametrize("name", [name for name in shipped() if not load_tokenizer(name).spec.predictive])
def test_a_decoder_that_joins_late_is_exact_after_its_receptive_field(name: str) -> None:
    encoder, decoder = open_encoder(name, "onnxruntime"), open_decoder(name, "onnxruntime")
    tokens = encode(encoder, motion(encoder.spec, people=2, hops=16))
    whole, hop = decode(decoder, tokens), encoder.spec.hop
    late = decode(decoder, tokens[:, 4:])
    apart = np.abs(late - whole[:, 4 * hop :]).max(axis=(0, 2, 3))
    memory = 1 + sum(path.startswith(("token", "joint")) for path in decoder.spec.decoder_states)
    assert apart[: 2 * hop].max() > 1e-4
    assert apart[memory * hop :].max() < 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
def test_both_forms_of_input_give_the_same_tokens(small: dict[str, Path], backend: Backend) -> None:
    keypoints, heatmaps = (open_encoder(small[form], backend) for form in ("keypoints", "heatmaps"))
    x = motion(keypoints.spec, people=4, hops=5)
    assert (encode(keypoints, x) == encode(heatmaps, x)).mean() >= 0.999


def test_batches_beyond_the_largest_bucket_run_in_parts(small: dict[str, Path]) -> None:
    encoder = open_encoder(small["keypoints"], "openvino")
    x = motion(encoder.spec, people=70, hops=2)
    np.testing.assert_array_equal(encode(encoder, x)[66:], encode(encoder, x[66:]))


def test_auto_takes_the_fastest_and_says_why(small: dict[str, Path]) -> None:
    encoder = open_encoder(small["keypoints"])
    assert encoder.backend in BACKENDS
    assert encoder.why.startswith("fastest here: " + encoder.backend)
    assert all(name in encoder.why for name in BACKENDS)


def test_wrong_shapes_and_ids_are_refused_with_the_shape(small: dict[str, Path]) -> None:
    encoder, decoder = open_encoder(small["keypoints"], "onnxruntime"), open_decoder(small["keypoints"], "onnxruntime")
    with pytest.raises(ValueError, match=r"x must be \[B, 8, 17, 3\].*got \[2, 7, 17, 3\]"):
        encoder.step(np.zeros((2, 7, 17, 3), np.float32), np.zeros(2, bool), encoder.init_state(2))
    with pytest.raises(ValueError, match=r"ids must be in 0\.\.511"):
        decoder.step(np.full((1, 1, 1, 8, 8), 512), np.zeros(1, bool), decoder.init_state(1))


def test_an_unknown_tokenizer_names_those_that_ship() -> None:
    assert {"heatmap2d-f8", "heatmap3d-f8"} <= set(shipped())
    with pytest.raises(TokenizerError, match="no tokenizer 'heatmap9d': give the name of a shipped one"):
        load_tokenizer("heatmap9d")


@pytest.mark.parametrize("file", ["config.json", "encoder.onnx", "decoder.onnx", "model.safetensors"])
def test_a_damaged_file_is_named(copy: Path, file: str) -> None:
    data = bytearray((copy / file).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / file).write_bytes(data)
    with pytest.raises(TokenizerError, match=f"{file} is damaged"):
        load_tokenizer(copy)


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "decoder.onnx").unlink()
    with pytest.raises(TokenizerError, match=r"not a complete tokenizer: decoder\.onnx missing"):
        load_tokenizer(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dims": 4}, "dims"),
        ({"hop": "8"}, "hop"),
        ({"surprise": 1}, "surprise"),
        ({"vocabulary": 1}, "vocabulary 1"),
        ({"weights_hash": "0" * 64}, "weights_hash"),
        ({"token_grid": [1, 1, 4, 4]}, "token grid"),
        ({"window": 12}, "window 12"),
        ({"causal": True, "window": 16}, "causal"),
    ],
)
def test_an_unsound_configuration_is_explained(copy: Path, change: dict[str, object], message: str) -> None:
    config = msgspec.json.decode((copy / "config.json").read_bytes())
    (copy / "config.json").write_bytes(msgspec.json.encode(config | change))
    write_sums(copy)
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer(copy)


def test_graphs_that_do_not_fit_the_configuration_are_refused(copy: Path) -> None:
    config = msgspec.json.decode((copy / "config.json").read_bytes())
    config["encoder_states"]["frame.0"] = [2, 64, 999]
    (copy / "config.json").write_bytes(msgspec.json.encode(config))
    write_sums(copy)
    with pytest.raises(TokenizerError, match=r"encoder\.onnx does not fit .*state\.frame\.0"):
        open_encoder(copy, "onnxruntime")


@pytest.mark.parametrize("backend", [*BACKENDS, "auto"])
def test_a_graph_that_cannot_be_read_is_refused(copy: Path, backend: Backend) -> None:
    (copy / "encoder.onnx").write_bytes(b"no graph")
    write_sums(copy)
    with pytest.raises(TokenizerError, match=r"encoder\.onnx"):
        open_encoder(copy, backend)


def test_the_weights_are_there_once_and_say_nothing_of_the_machine(small: dict[str, Path]) -> None:
    folder = small["keypoints"]
    graphs = (folder / "encoder.onnx").read_bytes() + (folder / "decoder.onnx").read_bytes()
    assert len(graphs) < 200_000
    assert str(Path(__file__).parents[2]).encode() not in graphs
    assert load_tokenizer(folder).spec.weights_hash == sha256(folder / "model.safetensors")
