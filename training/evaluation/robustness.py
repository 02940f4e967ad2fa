"""How much worse a tokenizer decodes when joints were hidden from its encoder, or ids are replaced on the way."""

from collections.abc import Sequence

import numpy as np

from stream.codec.encode import encode_step
from stream.codec.inputs import Ids, decoder_inputs, padded
from stream.codec.rate import FULL
from stream.motion.clips import Clip
from stream.motion.skeleton import Array, J
from training.evaluation.codecs import EngineCodec
from training.evaluation.roundtrip import Tokens, run_clips

HIDDEN = (0.0, 0.1, 0.3)
"""Shares of the joints that are hidden."""

STRETCH = 30
"""Frames for which a joint is hidden at a time: as behind somebody, not as noise."""

WRONG = 0.01
"""Share of the ids that are replaced by random ones."""


class Disturbed:
    """A codec whose encoder does not see all joints and whose ids do not all arrive. Boxes are as if all were seen.

    hidden, wrong: shares. See `training.evaluation.roundtrip.Codec`.
    """

    def __init__(self, codec: EngineCodec, hidden: float = 0.0, wrong: float = 0.0, seed: int = 0) -> None:
        self._codec, self._hidden, self._wrong = codec, hidden, wrong
        self._rng = np.random.default_rng(seed)

    def roundtrip(self, keypoints: Array, boxes: Array) -> tuple[Tokens, Array]:
        """See `training.evaluation.roundtrip.Codec`; tokens are those that arrive."""
        encoder, decoder, spec = self._codec.encoder, self._codec.decoder, self._codec.encoder.spec
        seen = keypoints * self._visible(keypoints.shape[1])[None, ..., None]
        there, back = encoder.init_state(1), decoder.init_state(1)
        ids: list[Ids] = []
        joints = []
        for hop, box in enumerate(boxes):
            begins = np.array([hop == 0])
            window = seen[:, hop * spec.hop : (hop + 1) * spec.hop].astype(np.float32)
            coded, there = encode_step(encoder, window, box[None], begins, there, FULL)
            ids.append(self._replaced(coded[0], spec.vocabulary))
            tokens, added = decoder_inputs(spec, ids[-1:], box[None])
            decoded, back = decoder.step(tokens, begins, back, **added)
            joints.append(decoded.joints[0])
        return padded(ids, spec.token_grid[0]), np.concatenate(joints)[None]

    def _visible(self, frames: int) -> Array:
        """Return which joints are seen, float32 [T, 17]: each hidden for stretches of a second."""
        stretches = -(-frames // STRETCH)
        seen = self._rng.random((stretches, J)) >= self._hidden
        return np.repeat(seen, STRETCH, axis=0)[:frames].astype(np.float32)

    def _replaced(self, ids: Ids, vocabulary: int) -> Ids:
        wrong = self._rng.random(ids.shape) < self._wrong
        other = self._rng.integers(0, vocabulary, ids.shape)
        return np.where(wrong, other, ids).astype(np.uint16)


def robustness(codec: EngineCodec, clips: Sequence[Clip]) -> dict[str, float]:
    """Return the mean error, cm, of all joints, the hidden ones among them, by what was done."""
    spec = codec.encoder.spec
    cases = {f"{share:.0%} of joints hidden": Disturbed(codec, hidden=share) for share in HIDDEN}
    cases[f"{WRONG:.0%} of ids replaced"] = Disturbed(codec, wrong=WRONG)
    return {
        name: float(run_clips(disturbed, clips, spec.dims, spec.hop).errors_cm.mean())
        for name, disturbed in cases.items()
    }
