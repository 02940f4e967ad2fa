"""What can be evaluated: an exported tokenizer, by its name or directory, or a training run, by its folder."""

from pathlib import Path

import numpy as np

from engine.errors import TokenizerError
from engine.session import Backend, Decoder, Encoder, open_decoder, open_encoder
from engine.spec import load_tokenizer
from stream.motion.skeleton import Array
from stream.tokenizer import decode_step, encode_step
from training.evaluation.roundtrip import Codec, DrawingCodec, Sizes, Tokens, sizes_of
from training.run.folder import is_run


class EngineCodec:
    """An exported tokenizer as a codec."""

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        self.encoder, self.decoder = encoder, decoder
        spec = encoder.spec
        if spec.window != spec.hop:
            raise TokenizerError(f"{spec.name}: windows that overlap are not evaluated; evaluate its training run")

    def roundtrip(self, keypoints: Array) -> tuple[Tokens, Array]:
        """See `training.evaluation.roundtrip.Codec`."""
        spec = self.encoder.spec
        there, back = self.encoder.init_state(1), self.decoder.init_state(1)
        go_on, inside = np.zeros(1, bool), (*[0.5] * spec.dims, 1.0)  # box coordinates stay what they are
        tokens, joints = [], []
        for start in range(0, keypoints.shape[1], spec.hop):
            ids, there = encode_step(self.encoder, keypoints[:, start : start + spec.hop], go_on, there)
            (motion,), back = decode_step(self.decoder, ids, [inside], go_on, back)
            tokens.append(ids[0])
            joints.append(motion.joints)
        return np.stack(tokens), np.concatenate(joints)[None]


def open_codec(what: str | Path, backend: Backend = "auto") -> tuple[Codec | DrawingCodec, Sizes]:
    """Open an exported tokenizer or a training run.

    Raises TokenizerError where it is neither or cannot be run.
    """
    if is_run(what):
        from training.evaluation.network_codec import open_run  # torch is not needed for exported tokenizers

        return open_run(Path(what))
    tokenizer = load_tokenizer(what)
    codec = EngineCodec(open_encoder(tokenizer, backend), open_decoder(tokenizer, backend))
    return codec, sizes_of(tokenizer.spec)
