"""A predictive network as a tokenizer directory."""

import shutil
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from engine.session import open_decoder, open_encoder
from engine.spec import TokenizerFiles, TokenizerSpec, load_tokenizer, sha256, write_sums
from stream.motion.clock import FPS
from training.exporting.graphs import write_graph
from training.exporting.weights import Form, round_network, share_weights
from training.predictive.network import PredictiveNetwork, State

HOPS = 4
"""Hops on which network and graphs are compared."""

TOLERANCE = 1e-4
"""Largest difference, in box units, between the joints of the network and of the exported decoder."""


class PredictiveEncoder(nn.Module):
    """The encoder's step with flat inputs and outputs, as a graph has them."""

    def __init__(self, network: PredictiveNetwork) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(
        self, x: Tensor, box: Tensor, levels: Tensor, tolerance: Tensor, reset: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        """x, box, levels, tolerance, reset, states -> tokens [B, L, 1, 1, 1], joints, new states."""
        ids, joints, new = self.network.encode_step(x, box, levels, tolerance, State(*past).reset(reset))
        return ids[..., None, None, None].to(torch.int32), joints, *vars(new).values()


class PredictiveDecoder(nn.Module):
    """The decoder's step with flat inputs and outputs, as a graph has them."""

    def __init__(self, network: PredictiveNetwork) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, tokens: Tensor, box: Tensor, reset: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        """tokens [B, L, 1, 1, 1], box, reset, states -> joints, confidence, new states."""
        ids = tokens.flatten(1).to(torch.int64)
        joints, confidence, new = self.network.decode_step(ids, box, State(*past).reset(reset))
        return joints, confidence, *vars(new).values()


FINE = ("basis", "hear.weight")
"""Matrices in half precision: as bytes they cost accuracy."""


def form_of(name: str, tensor: Tensor) -> Form:
    """Return how a tensor is stored: matrices as bytes, but for those that places and the anchor hang on."""
    if name == "codes":
        return "bytes"
    if tensor.dim() != 2 or tensor.numel() < 4096:
        return "plain"
    return "half" if name in FINE else "bytes"


def export_predictive(network: PredictiveNetwork, name: str, out: Path) -> TokenizerFiles:
    """Write a network as a tokenizer directory; checked, then put in place. Rounds the network's parameters."""
    c = network.eval().config
    round_network(network, form_of)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        folder = Path(scratch)
        encoder, decoder, weights = (folder / n for n in ("encoder.onnx", "decoder.onnx", "model.safetensors"))
        x, box = _example(network)
        some = torch.full((len(box),), float(c.levels))
        write_graph(
            PredictiveEncoder(network),
            encoder,
            {"x": x, "box": box, "levels": some, "tolerance": torch.zeros_like(some)},
            ["tokens", "joints"],
            c.states,
        )
        tokens = torch.zeros(len(box), c.levels, 1, 1, 1, dtype=torch.int32)
        write_graph(
            PredictiveDecoder(network), decoder, {"tokens": tokens, "box": box}, ["joints", "confidence"], c.states
        )
        tensors = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
        share_weights([encoder, decoder], weights, tensors, form_of)
        spec = TokenizerSpec(
            name=name,
            kind="predictive",
            skeleton="coco17",
            dims=3 if c.dims == 3 else 2,
            hop=c.hop,
            window=c.hop,
            causal=True,
            fps=FPS,
            vocabulary=c.vocabulary,
            token_grid=(c.levels, 1, 1, 1),
            input="keypoints",
            encoder_states=c.states,
            decoder_states=c.states,
            weights_hash=sha256(weights),
        )
        (folder / "config.json").write_bytes(msgspec.json.format(msgspec.json.encode(spec), indent=2) + b"\n")
        write_sums(folder)
        check(network, folder)
        out.mkdir(exist_ok=True)
        for file in folder.iterdir():
            shutil.move(file, out / file.name)
    return load_tokenizer(out)


def _example(network: PredictiveNetwork) -> tuple[Tensor, Tensor]:
    """Return hops of two people near the mean body, [2, hop, 17, D + 1], and their boxes."""
    c = network.config
    rng = np.random.default_rng(0)
    mean = network.mean[: c.coordinates].unflatten(0, (c.hop, 17, c.dims)).numpy()
    noise = 0.05 * rng.standard_normal((2, *mean.shape))
    joints = np.concatenate([mean + noise, np.ones((2, *mean.shape[:-1], 1))], axis=-1)
    box = np.concatenate([rng.uniform(0, 500, (2, c.dims)), np.full((2, 1), 200.0)], axis=1)
    return torch.from_numpy(joints.astype(np.float32)), torch.from_numpy(box.astype(np.float32))


def check(network: PredictiveNetwork, folder: Path) -> None:
    """Run a few hops, a reset among them, through network and graphs; raise ValueError where they differ."""
    encoder, decoder = open_encoder(folder, "onnxruntime"), open_decoder(folder, "onnxruntime")
    live, back = encoder.init_state(2), decoder.init_state(2)
    past = State.unknown(2, network.config)
    x, box = _example(network)
    for hop in range(HOPS):
        reset = np.array([False, hop == HOPS - 2])
        levels = np.full(2, network.config.levels - hop, np.float32)
        feeds = {"box": box.numpy(), "levels": levels, "tolerance": np.zeros(2, np.float32)}
        encoded, live = encoder.step(x.numpy(), reset, live, **feeds)
        decoded, back = decoder.step(encoded.tokens, reset, back, box=box.numpy())
        ids = torch.from_numpy(encoded.tokens.reshape(2, -1)).long()
        with torch.inference_mode():
            joints, _, past = network.decode_step(ids, box, past.reset(torch.from_numpy(reset).float()))
        apart = float(np.abs(decoded.joints - joints.numpy()).max())
        if apart > TOLERANCE:
            raise ValueError(f"the exported graphs differ from the network by {apart:.1e} at hop {hop}")
        x = x + 0.01
