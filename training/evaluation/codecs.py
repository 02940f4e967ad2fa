"""What can be evaluated: an exported tokenizer, by its name or directory, or a training run, by its folder."""

from pathlib import Path

import numpy as np

from engine.errors import TokenizerError
from engine.session import Backend, Decoder, Encoder, open_decoder, open_encoder
from engine.spec import load_tokenizer
from stream.codec.encode import encode_step
from stream.codec.inputs import decoder_inputs, padded
from stream.codec.rate import FULL, Rate
from stream.motion.skeleton import Array
from training.evaluation.roundtrip import Codec, CodecInfo, DrawingCodec, Tokens, codec_info
from training.run.folder import is_run


class EngineCodec:
    """An exported tokenizer as a codec. rate: of a predictive one; ValueError where it has no such rate."""

    def __init__(self, encoder: Encoder, decoder: Decoder, rate: Rate = FULL) -> None:
        spec = encoder.spec
        self.encoder, self.decoder, self.rate = encoder, decoder, rate.fit(spec)
        if spec.window != spec.hop:
            raise TokenizerError(f"{spec.name}: windows that overlap are not evaluated; evaluate its training run")

    def at(self, rate: Rate) -> "EngineCodec":
        """Return the same tokenizer at another rate."""
        return EngineCodec(self.encoder, self.decoder, rate)

    def roundtrip(self, keypoints: Array, boxes: Array) -> tuple[Tokens, Array]:
        """See `training.evaluation.roundtrip.Codec`."""
        spec = self.encoder.spec
        there, back = self.encoder.init_state(1), self.decoder.init_state(1)
        ids, joints = [], []
        for hop, box in enumerate(boxes):
            begins = np.array([hop == 0])
            window = keypoints[:, hop * spec.hop : (hop + 1) * spec.hop]
            coded, there = encode_step(self.encoder, window, box[None], begins, there, self.rate)
            tokens, added = decoder_inputs(spec, coded, box[None])
            decoded, back = self.decoder.step(tokens, begins, back, **added)
            ids += coded
            joints.append(decoded.joints[0])
        return padded(ids, spec.token_grid[0]), np.concatenate(joints)[None]


def open_codec(what: str | Path, backend: Backend = "auto") -> tuple[Codec | DrawingCodec, CodecInfo]:
    """Open an exported tokenizer or a training run.

    Raises TokenizerError where it is neither or cannot be run.
    """
    if is_run(what):
        from training.evaluation.network_codec import open_run  # torch is not needed for exported tokenizers

        return open_run(Path(what))
    tokenizer = load_tokenizer(what)
    codec = EngineCodec(open_encoder(tokenizer, backend), open_decoder(tokenizer, backend))
    return codec, codec_info(tokenizer.spec)
