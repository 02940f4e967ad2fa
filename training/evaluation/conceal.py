"""What may stand in place of lost packets: the tokenizer's own forecast, the last pose held, or constant velocity."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engine.session import Decoder, State
from stream.codec.decode import Motion, decode_step, predict_step
from stream.codec.inputs import Ids
from stream.motion.clips import Clip, Mask
from stream.motion.skeleton import Array
from stream.tokenizer import Tokenizer
from training.evaluation.roundtrip import at_clock_rate

SHARES = (0.05, 0.1, 0.2)
"""Of the packets, that are lost one by one at random."""

GAPS = (0.25, 0.5, 1.0)
"""Seconds without a packet, rounded to hops."""

AHEAD = 0.2
"""Seconds after a packet for which it is foretold where the body will be."""

BEFORE = 12
"""Hops that a reader has when a gap begins."""

STEP = 2
"""Frames back from the last one to which a velocity is measured."""

WAYS = ("forecast", "hold", "velocity")

Errors = dict[str, dict[str, float]]


@dataclass(frozen=True)
class _Recording:
    """hops: packets; truth: [hops, hop, 17, D], what they were made from, px or cm."""

    ids: Sequence[Ids]
    boxes: Sequence[tuple[float, ...]]
    truth: Array


def concealed(tokenizer: Tokenizer, clips: Sequence[Clip], seed: int = 0) -> Errors:
    """Return the mean error, cm, of the frames that are shown without a packet, by case and way.

    Raises ValueError for a tokenizer that foretells nothing, and where no recording is long enough.
    """
    if not tokenizer.spec.predictive:
        raise ValueError(f"{tokenizer.spec.name} foretells nothing: give a predictive tokenizer")
    recordings = list(_recordings(tokenizer, clips))
    if not recordings:
        raise ValueError(f"no recording is as long as {BEFORE + 2} hops")
    rng = np.random.default_rng(seed)
    found: dict[str, list[dict[str, Array]]] = {}
    for each in recordings:
        count = len(each.ids)
        for share in SHARES:
            lost = rng.random(count) < share
            lost[0] = False
            found.setdefault(f"{share:.0%} of packets lost", []).append(_shown(tokenizer.decoder, each, lost))
        for gap in GAPS:
            length = max(1, round(gap * tokenizer.fps / tokenizer.hop))
            for start in range(BEFORE, count - length, BEFORE):
                lost = np.zeros(start + length, bool)
                lost[start:] = True
                name = f"{length * tokenizer.hop / tokenizer.fps:.2f} s without packets"
                found.setdefault(name, []).append(_shown(tokenizer.decoder, each, lost, start - BEFORE))
        most = min(tokenizer.hop, round(AHEAD * tokenizer.fps))
        for start in range(BEFORE, count):
            lost = np.arange(start + 1) == start
            shown = _shown(tokenizer.decoder, each, lost, start - BEFORE)
            found.setdefault(f"{most / tokenizer.fps:.2f} s ahead", []).append(
                {way: errors[:most] for way, errors in shown.items()}
            )
    return {
        name: {way: float(np.concatenate([each[way] for each in parts]).mean()) for way in WAYS}
        for name, parts in found.items()
    }


def _recordings(tokenizer: Tokenizer, clips: Sequence[Clip]) -> Iterator[_Recording]:
    for clip in clips:
        joints, _ = at_clock_rate(clip, tokenizer.dims, heading=0.0)
        count = len(joints) // tokenizer.hop
        if count < BEFORE + 2:
            continue
        whole = joints[: count * tokenizer.hop]
        hops = list(tokenizer.encode(whole).hops())
        truth = whole.reshape(count, tokenizer.hop, *whole.shape[1:])
        yield _Recording([hop.ids for hop in hops], [hop.box for hop in hops], truth)


def _shown(decoder: Decoder, recording: _Recording, lost: Mask, begin: int = 0) -> dict[str, Array]:
    """Return the errors of the frames of lost packets, [N], by way. begin: the first hop that the reader hears."""
    state: State = decoder.init_state(1)
    last, box, since = recording.truth[begin], recording.boxes[begin], 0
    errors: dict[str, list[Array]] = {way: [np.zeros(0, np.float32)] for way in WAYS}
    for number in range(begin, len(lost)):
        none = np.array([number == begin])
        motion: Motion
        if not lost[number]:
            box, since = recording.boxes[number], 0
            (motion,), state = decode_step(decoder, [recording.ids[number]], [box], none, state)
            last = motion.joints
            continue
        (motion,), state = predict_step(decoder, [box], none, state)
        frames = since + 1 + np.arange(len(motion.joints))
        speed = (last[-1] - last[-1 - STEP]) / STEP
        shown = {
            "forecast": motion.joints,
            "hold": np.broadcast_to(last[-1], motion.joints.shape),
            "velocity": last[-1] + speed * frames[:, None, None],
        }
        for way, joints in shown.items():
            errors[way].append(np.linalg.norm(joints - recording.truth[number], axis=-1).mean(axis=1))
        since += len(frames)
    return {way: np.concatenate(parts) for way, parts in errors.items()}
