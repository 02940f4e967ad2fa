"""A tokenizer as an object: motion to tokens and back, whole recordings or frame by frame, without a socket."""

import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from engine.errors import TokenizerError
from engine.session import Backend, Decoder, Encoder, Precision, open_decoder, open_encoder
from engine.spec import TokenizerFiles, TokenizerSpec, load_tokenizer
from stream.codec.decode import HopDecoder, Motion, decode_step
from stream.codec.encode import Hop, HopEncoder, Pipeline, encode_step
from stream.codec.framing import Framer, HopWindow
from stream.codec.rate import FULL, Rate
from stream.motion.arrays import checked_joints
from stream.motion.clock import MAX_HOLD
from stream.motion.skeleton import JOINTS, SEEN, Array, Pose
from stream.sources.base import PoseFrame
from stream.tokens import Tokens

__all__ = ["DecodeStream", "EncodeStream", "Motion", "Tokenizer", "Tokens", "decode_step", "encode_step"]

TOGETHER = 16
"""Recordings that are encoded or decoded in one step: larger batches are no faster on a CPU."""

T = TypeVar("T")


class Tokenizer:
    """Turns the motion of people into tokens, and tokens into motion.

        tokenizer = Tokenizer("heatmap2d-f8")
        tokens = tokenizer.encode(joints, fps=30)
        motion = tokenizer.decode(tokens)

    name: a shipped tokenizer, a tokenizer directory, or the label name@hash in a packet, which must be that of a
    shipped one. backend, precision: as in `engine.session.open_encoder`. Encoder and decoder are opened when they are
    first needed, which takes a second or two.

    Raises TokenizerError where there is no such tokenizer, it is damaged, or nothing here can run it.
    """

    def __init__(self, name: str | Path, backend: Backend = "auto", precision: Precision = "fp32") -> None:
        self._files = _find(name)
        self._backend, self._precision = backend, precision

    @property
    def spec(self) -> TokenizerSpec:
        """What the tokenizer's configuration says."""
        return self._files.spec

    @property
    def label(self) -> str:
        """Name and hash of the weights, as packets carry them."""
        return self.spec.label

    @property
    def vocabulary(self) -> int:
        """Ids that a level has."""
        return self.spec.vocabulary

    @property
    def words(self) -> int:
        """Different ids that `Tokens.flat` may give: those of all levels, and one for a hop without any."""
        return self.grid[0] * self.vocabulary + self.spec.predictive

    @property
    def hop(self) -> int:
        """Frames of one hop of tokens."""
        return self.spec.hop

    @property
    def grid(self) -> tuple[int, int, int, int]:
        """Shape of one hop's ids: levels, time, height, width."""
        return self.spec.token_grid

    @property
    def fps(self) -> float:
        """Frames per second of the clock on which motion is encoded and decoded."""
        return self.spec.fps

    @property
    def dims(self) -> int:
        """2 for joints in the image, 3 for joints in space."""
        return self.spec.dims

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of the 17 joints, in their order."""
        return JOINTS

    @cached_property
    def encoder(self) -> Encoder:
        """The open encoder, to be shared by any number of streams."""
        return open_encoder(self._files, self._backend, self._precision)

    @cached_property
    def decoder(self) -> Decoder:
        """The open decoder, to be shared by any number of streams."""
        return open_decoder(self._files, self._backend, self._precision)

    def encode(
        self,
        joints: ArrayLike,
        fps: ArrayLike | None = None,
        confidence: ArrayLike | None = None,
        levels: int | None = None,
        quality: float | None = None,
    ) -> Tokens:
        """Return the tokens of a recording of one person; the last hop is completed with held frames.

        joints: numbers [T, 17, D] in COCO's order or [T, 19, D] in CMU Panoptic's, D = `dims`, px or cm (y down); fps:
        of these frames, by default the tokenizer's own, onto which any other rate is brought; confidence: [T, 17] or
        [T, 19] in 0..1, by default 1: a joint below 0.3 was not seen. Frames without a joint that was seen are gaps.
        levels, quality: for predictive tokenizers, how many levels a hop may take at most, and which mean joint error,
        px or cm, is good enough, so that a hop takes no more levels than it needs.

        Raises ValueError for anything else, and for a recording shorter than one hop.
        """
        return self.encode_batch([joints], fps, None if confidence is None else [confidence], levels, quality)[0]

    def encode_batch(
        self,
        recordings: Sequence[ArrayLike],
        fps: ArrayLike | None = None,
        confidences: Sequence[ArrayLike | None] | None = None,
        levels: int | None = None,
        quality: float | None = None,
    ) -> list[Tokens]:
        """Return the tokens of many recordings, encoded side by side; each as `encode` would give them.

        fps: of all of them, or of each. Raises ValueError as `encode` does, with the number of the recording.
        """
        rate = Rate(levels, quality).fit(self.spec)
        each_own = np.asarray(self.fps if fps is None else fps, float)
        rates = each_own.tolist() if each_own.ndim else [float(each_own)] * len(recordings)
        sure = [None] * len(recordings) if confidences is None else list(confidences)
        if not len(rates) == len(sure) == len(recordings):
            raise ValueError(f"{len(recordings)} recordings, but {len(rates)} rates and {len(sure)} confidences")
        queues = []
        for number, (joints, speed, confidence) in enumerate(zip(recordings, rates, sure, strict=True)):
            try:
                queues.append(self._shots(joints, speed, confidence))
            except ValueError as error:
                raise ValueError(f"recording {number}: {error}" if len(recordings) > 1 else str(error)) from None
        return [Tokens.from_hops(hops, self) for hops in self.encode_frames(queues, rate)]

    def encode_frames(self, recordings: Sequence[Iterable[PoseFrame]], rate: Rate = FULL) -> list[list[Hop]]:
        """Return the hops of many recordings, encoded side by side; each as a producer of its frames would give them.

        A recording may show any number of people; its hops come in the order of their ends. Its frames are taken when
        they are needed.
        """
        encoder = HopEncoder(self.encoder, rate.fit(self.spec))
        hops: list[list[Hop]] = [[] for _ in recordings]
        for group in _side_by_side([self._windows(frames) for frames in recordings]):
            windows = [(number, window) for number, windows in group for window in windows]
            people = [(number, window.track) for number, window in windows]
            for (number, _), hop in zip(windows, encoder.encode([w for _, w in windows], people), strict=True):
                hops[number].append(hop)
            encoder.keep(partial(_is_of, {number for number, _ in group}))
        return hops

    def decode(self, tokens: Tokens) -> Motion:
        """Return the motion of tokens, in the units that went in, at `fps`.

        It begins with the first hop's first frame and ends with the last frame that was seen. Frames between that no
        hop covers, as after a gap, have a confidence of 0 and joints that are not a number.

        Raises ValueError for tokens of another tokenizer.
        """
        return self.decode_batch([tokens])[0]

    def decode_batch(self, recordings: Sequence[Tokens]) -> list[Motion]:
        """Return the motion of many recordings, decoded side by side; each as `decode` would give it."""
        for tokens in recordings:
            self._check_fit(tokens)
        decoded = self.decode_hops([list(tokens.hops()) for tokens in recordings])
        return [_joined(tokens, motions) for tokens, motions in zip(recordings, decoded, strict=True)]

    def decode_hops(self, recordings: Sequence[Sequence[Hop]]) -> list[list[Motion]]:
        """Return the motion of every hop of many recordings, as from `encode_frames`, decoded side by side."""
        decoder = HopDecoder(self.decoder)
        motions: list[list[Motion]] = [[] for _ in recordings]
        for group in _side_by_side([iter(hops) for hops in recordings]):
            people = [(number, hop.track) for number, hop in group]
            for (number, _), motion in zip(group, decoder.decode([hop for _, hop in group], people), strict=True):
                motions[number].append(motion)
            decoder.keep(partial(_is_of, {number for number, _ in group}))
        return motions

    def stream(self, keyframe: int = 0, levels: int | None = None, quality: float | None = None) -> "EncodeStream":
        """Begin to encode one person frame by frame.

        keyframe: hops after which the state is reset; 0 for never; levels, quality: as in `encode`.
        """
        return EncodeStream(self.encoder, self.fps, keyframe, Rate(levels, quality).fit(self.spec))

    def decode_stream(self) -> "DecodeStream":
        """Begin to decode one person hop by hop."""
        return DecodeStream(self.decoder)

    def _shots(self, joints: ArrayLike, fps: float, confidence: ArrayLike | None) -> Iterator[PoseFrame]:
        """Return the frames of a recording, made when they are taken; what is wrong with it is raised at once."""
        body, sure = checked_joints(joints, confidence, self.dims)
        slowest = self.fps / (MAX_HOLD + 1)
        if not (math.isfinite(fps) and fps >= slowest):
            raise ValueError(f"fps {fps:g}: a rate of {slowest:.1f} or more frames a second is needed")
        if len(body) * self.fps / fps < self.hop:
            raise ValueError(
                f"joints {list(body.shape)} at {fps:g} fps are shorter than one hop of {self.hop} frames at "
                f"{self.fps:g} fps: give at least {math.ceil(self.hop * fps / self.fps)} frames"
            )
        if not (sure >= SEEN).any():
            raise ValueError(f"no joint has a confidence of {SEEN} or more: nobody is seen in this recording")
        return (_shot(*pose, index / fps) for index, pose in enumerate(zip(body, sure, strict=True)))

    def _windows(self, frames: Iterable[PoseFrame]) -> Iterator[list[HopWindow]]:
        """Yield the hops of a recording in groups of different people."""
        framer = Framer(self.spec.window, self.hop, self.dims, self.fps)
        for frame in frames:
            yield from framer.push(frame)
        yield from framer.flush()

    def _check_fit(self, tokens: Tokens) -> None:
        label = self.label
        if tokens.tokenizer != label:
            raise ValueError(f"these are tokens of {tokens.tokenizer}, not of {label}: open the one that made them")
        if not len(tokens):
            raise ValueError("these tokens have no hops: there is nothing to decode")
        if tokens.ids.shape[1:] != self.grid or tokens.boxes.shape != (len(tokens), self.dims + 1):
            raise ValueError(f"ids {list(tokens.ids.shape)} and boxes {list(tokens.boxes.shape)} do not fit {label}")


class EncodeStream:
    """Encodes one person frame by frame. Pushing the frames of a recording gives its tokens, bit for bit."""

    def __init__(self, encoder: Encoder, fps: float, keyframe: int = 0, rate: Rate = FULL) -> None:
        self._pipeline = Pipeline(encoder, fps, keyframe, rate)
        self._dims, self._fps, self._frames = encoder.spec.dims, fps, 0

    def push(self, joints: ArrayLike, time: float | None = None, confidence: ArrayLike | None = None) -> list[Hop]:
        """Take one frame and return the hops that it completes: mostly none, or one; after a gap more.

        joints: [17 or 19, D] as in `Tokenizer.encode`; time: when it was captured, seconds on any clock, rising; by
        default the next of the tokenizer's own rate; confidence: [17 or 19]. Raises ValueError for anything else.
        """
        sure = None if confidence is None else np.asarray(confidence)[None]
        body, certain = checked_joints(np.asarray(joints)[None], sure, self._dims)
        at = self._frames / self._fps if time is None else time
        if not math.isfinite(at):
            raise ValueError(f"time {at}: seconds on a clock of your choice")
        self._frames += 1
        return self._pipeline.push(_shot(body[0], certain[0], at))

    def flush(self) -> list[Hop]:
        """Complete the hop in hand with held frames, as at the end of a recording; the next frame begins afresh."""
        return self._pipeline.flush()


class DecodeStream:
    """Decodes one person hop by hop."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = HopDecoder(decoder)

    def push(self, hop: Hop) -> Motion:
        """Return the motion of the next hop: joints [hop, 17, D] and confidence [hop, 17]."""
        return self._decoder.decode([hop])[0]


def _find(name: str | Path) -> TokenizerFiles:
    """Return a tokenizer by name, directory or label."""
    shipped, at, _ = str(name).partition("@")
    if not at or Path(name).is_dir():
        return load_tokenizer(name)
    files = load_tokenizer(shipped)
    if files.spec.label != name:
        raise TokenizerError(
            f"{name} is not the {shipped} that ships, which is {files.spec.label}: give the directory of the right one"
        )
    return files


def _shot(joints: Array, confidence: Array, time: float) -> PoseFrame:
    """Return a frame with one person, or with nobody where no joint is seen."""
    people = {0: Pose(joints, confidence)} if (confidence >= SEEN).any() else {}
    return PoseFrame(people, time, round(time * 1e9))


def _is_of(recordings: set[int], person: Hashable) -> bool:
    """Whether a person, (number of the recording, track), is in one of these."""
    return isinstance(person, tuple) and person[0] in recordings


def _side_by_side(recordings: Sequence[Iterator[T]]) -> Iterator[list[tuple[int, T]]]:
    """Yield what comes next in `TOGETHER` recordings, with their numbers; where one ends, another begins."""
    waiting = iter(enumerate(recordings))
    lanes = list(islice(waiting, TOGETHER))
    while lanes:
        group, going = [], []
        for lane in lanes:
            for number, items in chain([lane], waiting):
                if (item := next(items, None)) is not None:
                    group.append((number, item))
                    going.append((number, items))
                    break
        lanes = going
        if group:
            yield group


def _joined(tokens: Tokens, motions: Sequence[Motion]) -> Motion:
    """Put the hops of a recording on one clock, up to the last frame that was seen."""
    starts = tokens.frames - tokens.frames[0]
    # Unless nothing says what was seen, as in tokens of a language model.
    frames = int(starts[-1]) + (int(tokens.observed[-1]).bit_length() or tokens.hop)
    joints = np.full((frames, *motions[0].joints.shape[1:]), np.nan, np.float32)
    confidence = np.zeros(joints.shape[:2], np.float32)
    for start, motion in zip(starts, motions, strict=True):
        part = slice(start, start + tokens.hop)
        joints[part], confidence[part] = (array[: frames - start] for array in motion)
    return Motion(joints, confidence)
