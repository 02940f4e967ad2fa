"""What a tokenizer loses: python -m training.evaluate TOKENIZER --data PATH [PATH ...] [--json FILE].

Runs the exported encoder and decoder, as the live system does, over whole recordings.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from engine.errors import TokenizerError
from engine.session import Backend, Decoder, Encoder, open_decoder, open_encoder
from engine.spec import TokenizerSpec
from stream.motion.heatmap import draw
from training.data.recordings import read_clips
from training.data.windows import Array
from training.roundtrip import Result, Tokens, run_clips


class EngineCodec:
    """An exported tokenizer as a codec."""

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        self.encoder, self.decoder = encoder, decoder

    def roundtrip(self, keypoints: Array) -> tuple[Tokens, Array]:
        """See `training.roundtrip.Codec`."""
        spec = self.encoder.spec
        there, back = self.encoder.init_state(1), self.decoder.init_state(1)
        go_on = np.zeros(1, bool)
        tokens, joints = [], []
        for start in range(0, keypoints.shape[1], spec.hop):
            x = keypoints[:, start : start + spec.hop]
            x = x if spec.input == "keypoints" else draw(x, spec.grid, spec.sigma)
            encoded, there = self.encoder.step(x, go_on, there)
            decoded, back = self.decoder.step(encoded.tokens, go_on, back)
            tokens.append(encoded.tokens[0])
            joints.append(decoded.joints)
        return np.stack(tokens), np.concatenate(joints, axis=1)


def figures(result: Result, spec: TokenizerSpec) -> dict[str, float]:
    """Return the figures of a set of recordings by plain names; entropy counts each place of the grid by itself."""
    flat = result.tokens.reshape(len(result.tokens), -1)
    counts = np.bincount(flat.reshape(-1), minlength=spec.vocabulary)
    share = counts[counts > 0] / counts.sum()
    by_place = [np.unique(column, return_counts=True)[1] / len(column) for column in flat.T]
    hops_per_second = spec.fps / spec.hop
    return {
        "seconds": result.seconds,
        "joint_error_cm": float(result.errors_cm.mean()),
        "joint_error_median_cm": float(np.median(result.errors_cm)),
        "joint_error_p95_cm": float(np.percentile(result.errors_cm, 95)),
        "vocabulary_used": int((counts > 0).sum()),
        "perplexity": float(np.exp(-(share * np.log(share)).sum())),
        "tokens_per_second": spec.tokens_per_hop * hops_per_second,
        "bits_per_second": spec.bits_per_second,
        "bits_per_second_entropy": float(sum(-(p * np.log2(p)).sum() for p in by_place) * hops_per_second),
    }


def evaluate(tokenizer: str, data: list[Path], backend: Backend = "auto") -> dict[str, dict[str, float]]:
    """Return the figures of a tokenizer on each set of recordings, by path."""
    codec = EngineCodec(open_encoder(tokenizer, backend), open_decoder(tokenizer, backend))
    spec = codec.encoder.spec
    return {
        "/".join(path.parts[-2:]): figures(run_clips(codec, read_clips(path), spec.dims, spec.hop), spec)
        for path in data
    }


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description="What a tokenizer loses.")
    parser.add_argument("tokenizer", help="name of a shipped tokenizer, or a tokenizer directory")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="npz files or folders of them")
    parser.add_argument("--backend", choices=("auto", "openvino", "onnxruntime"), default="auto")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser


def main() -> None:
    """Read the command line, evaluate and print."""
    parser = build_parser()
    args = parser.parse_args()
    try:
        found = evaluate(args.tokenizer, args.data, args.backend)
    except (FileNotFoundError, ValueError, TokenizerError) as error:
        parser.error(str(error))
    for name, row in found.items():
        print(name)
        for key, value in row.items():
            print(f"  {key:24} {value:10.2f}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
