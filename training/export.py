"""Export a trained run as a tokenizer directory: python -m training.export RUN --out DIR.

The two graphs keep no weights of their own: their tensors point into model.safetensors, so the weights are there
once. The exported encoder and decoder are checked against the network before anything is put in place.
"""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once(130)

import shutil
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from engine.command.cli import run
from engine.errors import OutputError, TokenizerError
from engine.session import open_decoder, open_encoder
from engine.spec import TokenizerFiles, TokenizerSpec, load_tokenizer, sha256, write_sums
from stream.motion.clock import FPS
from stream.motion.heatmap import draw
from training.config import TrainConfig, load_config
from training.exporting.graphs import write_graph
from training.exporting.weights import Form, round_network, share_weights
from training.model.config import ModelConfig
from training.model.tokenizer import TokenizerNetwork
from training.predictive.config import PredictiveTrainConfig, is_predictive
from training.predictive.config import load_config as load_predictive
from training.predictive.export import export_predictive
from training.predictive.trainer import trained
from training.report.card import begin_card
from training.run.checkpoint import load_trained, need_codebook

Input = Literal["keypoints", "heatmaps"]
TOLERANCE = 1e-4
"""Largest difference, in box units, between the joints of the network and of the exported decoder."""

HOPS = 4
"""Packets on which the two are compared."""

LONGEST = 64
"""Frames that one packet may stand for: its `observed` has a bit for each."""


class EncoderGraph(nn.Module):
    """The encoder's step with flat inputs and outputs, as a graph has them."""

    def __init__(self, network: TokenizerNetwork) -> None:
        super().__init__()
        self.network = network
        self.paths = list(network.encoder.states)
        self.eval()

    def forward(self, x: Tensor, reset: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        """x, reset [B], states -> tokens [B, L, t, h, w], latent [B, L, t, h, w, K], new states."""
        tokens, latent, new = self.network.encode_step(x, reset, dict(zip(self.paths, past, strict=True)))
        c = self.network.config
        grid = (tokens.shape[0], c.levels, c.steps, c.cells, c.cells)
        tokens, latent = tokens.permute(0, 3, 1, 2).reshape(grid), latent.permute(0, 3, 1, 2, 4).reshape(*grid, -1)
        return tokens, latent, *(new[path] for path in self.paths)


class DecoderGraph(nn.Module):
    """The decoder's step with flat inputs and outputs, as a graph has them."""

    def __init__(self, network: TokenizerNetwork) -> None:
        super().__init__()
        self.network = network
        self.paths = list(network.decoder.states)
        self.eval()

    def forward(self, tokens: Tensor, reset: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        """tokens [B, L, t, h, w], reset [B], states -> joints [B, T, J, D], confidence [B, T, J], new states."""
        flat = by_place(tokens, self.network.config)
        joints, confidence, new = self.network.decode_step(flat, reset, dict(zip(self.paths, past, strict=True)))
        return joints, confidence, *(new[path] for path in self.paths)


def by_place(tokens: Tensor, config: ModelConfig) -> Tensor:
    """Return a packet's ids as the network has them: [B, L, t, h, w] -> [B, t, N, L]."""
    return tokens.reshape(-1, config.levels, config.steps, config.places).permute(0, 2, 3, 1)


def form_of(name: str, tensor: Tensor) -> Form:
    """Return how a tensor is stored: large matrices in half precision; the codebook, which is compared, as it is."""
    large = tensor.dim() in (2, 5) and tensor.numel() >= 4096
    return "half" if large and "codebook" not in name else "plain"


def export(run: Path, out: Path, form: Input = "keypoints") -> TokenizerFiles:
    """Write the tokenizer directory of a run, replacing the graphs and weights that were there, not a model card.

    Raises TokenizerError where the run is damaged, has no codebook yet, or the live system has no use for it.
    """
    file = run / "config.yaml"
    config: TrainConfig | PredictiveTrainConfig
    if is_predictive(file):
        config = load_predictive(file, [])
        predictive, step = trained(run, config.model)
        tokenizer, frames = export_predictive(predictive, config.name, out), config.data.hops * config.model.hop
    else:
        network, step = load_trained(run)
        need_codebook(network, run)
        config = load_config(file, [])
        tokenizer, frames = export_network(network, config.name, out, form), config.packets * config.model.packet
    card = out / "README.md"
    if not card.exists():
        text = begin_card(tokenizer.spec, config.data, frames, config.seed, config.start_from, run, step)
        card.write_text(text, encoding="utf-8")
    return tokenizer


def export_network(network: TokenizerNetwork, name: str, out: Path, form: Input = "keypoints") -> TokenizerFiles:
    """Write a network as a tokenizer directory; checked, then put in place. Rounds the network (`form_of`).

    Raises TokenizerError where the live system has no use for such a network.
    """
    c = network.config
    refuse(c, form)
    round_network(network, form_of)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        folder = Path(scratch)
        encoder, decoder, weights = (folder / n for n in ("encoder.onnx", "decoder.onnx", "model.safetensors"))
        x = torch.from_numpy(_example(network, form))
        tokens = torch.zeros(2, c.levels, c.steps, c.cells, c.cells, dtype=torch.int32)
        write_graph(EncoderGraph(network), encoder, {"x": x}, ["tokens", "latent"], network.encoder.states)
        write_graph(
            DecoderGraph(network), decoder, {"tokens": tokens}, ["joints", "confidence"], network.decoder.states
        )
        kept = {key: tensor for key, tensor in network.state_dict().items() if tensor.dtype == torch.float32}
        share_weights([encoder, decoder], weights, {key: tensor.contiguous() for key, tensor in kept.items()}, form_of)
        spec = TokenizerSpec(
            name=name,
            kind="heatmap",
            skeleton="coco17",
            dims=3 if c.dims == 3 else 2,
            grid=c.grid,
            sigma=c.sigma,
            hop=c.packet,
            window=c.packet,
            causal=c.causal,
            fps=FPS,
            strides=(c.hop, c.grid // c.cells, c.grid // c.cells),
            vocabulary=c.vocabulary,
            token_grid=(c.levels, c.steps, c.cells, c.cells),
            input=form,
            encoder_states=network.encoder.states,
            decoder_states=network.decoder.states,
            weights_hash=sha256(weights),
        )
        (folder / "config.json").write_bytes(msgspec.json.format(msgspec.json.encode(spec), indent=2) + b"\n")
        write_sums(folder)
        check(network, folder, form)
        out.mkdir(exist_ok=True)
        for file in folder.iterdir():
            shutil.move(file, out / file.name)
    return load_tokenizer(out)


def refuse(c: ModelConfig, form: Input) -> None:
    """Raise TokenizerError, saying what to do, for a network that the live system cannot run."""
    for fits, what in (
        (c.has_joints, f"it draws model.outputs={c.outputs}, which show no joints: train with axes or joints"),
        (c.views == 1, f"it needs model.views={c.views} cameras at once: evaluate the run itself instead"),
        (form == "keypoints" or c.inputs == "joints", f"it sees maps of {c.inputs}: export it with --input keypoints"),
        (c.packet <= LONGEST, f"a packet of {c.packet} frames is longer than {LONGEST}: train with a shorter window"),
    ):
        if not fits:
            raise TokenizerError(f"this network cannot be exported: {what}")


def _example(network: TokenizerNetwork, form: Input, hops: int = 1) -> np.ndarray:
    c = network.config
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0.2, 0.8, (2, hops * c.packet, c.joints, c.dims + 1)).astype(np.float32)
    keypoints[..., -1] = 1
    return keypoints if form == "keypoints" else draw(keypoints, c.grid, c.sigma)


def check(network: TokenizerNetwork, folder: Path, form: Input) -> None:
    """Run a few hops, a reset among them, through the network and the exported graphs; raise where they differ."""
    encoder, decoder = open_encoder(folder, "onnxruntime"), open_decoder(folder, "onnxruntime")
    c = network.config
    x = _example(network, form, hops=HOPS)
    frames = 1 if form == "keypoints" else 2
    live, back = encoder.init_state(2), decoder.init_state(2)
    past = {path: torch.from_numpy(a.copy()) for path, a in live.items()}
    past_back = {path: torch.from_numpy(a.copy()) for path, a in back.items()}
    for hop in range(HOPS):
        chunk = x.take(range(hop * c.packet, (hop + 1) * c.packet), axis=frames)
        reset = np.array([False, hop == HOPS - 2])
        encoded, live = encoder.step(chunk, reset, live)
        with torch.inference_mode():
            _, latent, past = network.encode_step(torch.from_numpy(chunk), torch.from_numpy(reset), past)
            tokens = by_place(torch.from_numpy(encoded.tokens), c)
            joints, _, past_back = network.decode_step(tokens, torch.from_numpy(reset), past_back)
        decoded, back = decoder.step(encoded.tokens, reset, back)
        # Of the first level: what the others are left with hangs on how a tie of the first was rounded.
        first = latent[..., 0, :].numpy()
        apart = max(
            float(np.abs(encoded.numbers[:, 0].reshape(first.shape) - first).max()) / max(1.0, np.abs(first).max()),
            float(np.abs(decoded.joints - joints.numpy()).max()),
        )
        if apart > TOLERANCE:
            raise ValueError(f"the exported graphs differ from the network by {apart:.1e} at hop {hop}")


@dataclass(frozen=True)
class Config:
    """Export a training run as a tokenizer directory."""

    EXITS: ClassVar = (5, 10, 14, 130)

    run: Path
    """Folder of a training run."""
    out: Path | None = None
    """Tokenizer directory to write."""
    input: Input = "keypoints"
    """What the encoder takes: joints, drawing nothing, or heatmaps drawn outside."""

    def __post_init__(self) -> None:
        """Raise ValueError where no directory is named."""
        if self.out is None:
            raise ValueError("--out: name a directory to write")


EXAMPLES = """
  python -m training.export runs/heatmap2d-f8 --out my-tokenizer
"""


def main(config: Config, stop: threading.Event) -> None:
    """Export. Raises TokenizerError where there is no such run, OutputError where the directory cannot be written."""
    assert config.out is not None
    if not (config.run / "checkpoint.pt").is_file():
        raise TokenizerError(f"no run in {config.run}: it holds no checkpoint.pt")
    try:
        tokenizer = export(config.run, config.out, config.input)
    except OSError as error:
        raise OutputError(f"{config.out} cannot be written: {error}") from None
    print(f"{tokenizer.spec.label}  {config.out}")


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m training.export", examples=EXAMPLES, batch=True))
