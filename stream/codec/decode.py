"""Packets back to moving bodies, in the source's own coordinates."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.session import Decoder, State
from engine.spec import TokenizerSpec
from engine.state import join, split
from stream.codec.encode import Hop
from stream.codec.inputs import Boxes, Ids, decoder_inputs
from stream.errors import TokenizerError
from stream.motion.box import from_box
from stream.motion.skeleton import Array
from stream.wire.packets import Packet, PacketError, check_ids
from stream.wire.recent import recall

DECODERS = 4
"""Decoders that are open at once, the most recent ones: a stream has one, and another after some restarts."""

TRACKS = 256
"""People whose decoder state is kept at once, the most recent ones."""

FORETOLD_S = 1.0
"""Seconds of lost packets over which a predictive decoder goes on; what it foretells of more is not worth having."""

FORGET_S = 60.0
"""Seconds after which the state of somebody not heard of is dropped."""


class Motion(NamedTuple):
    """Decoded motion, of a hop or of a recording. joints: float32 [T, 17, 2 or 3], px or cm; confidence: [T, 17]."""

    joints: Array
    confidence: Array


def decode_step(
    decoder: Decoder, ids: Sequence[Ids], boxes: Boxes, reset: NDArray[np.bool_], state: State
) -> tuple[list[Motion], State]:
    """Decode one hop of B streams.

    ids: of each, [n, t, h, w]; boxes: each (*centre, side); reset: bool [B], this stream begins afresh. Returns the
    motion of each and the new state.
    """
    tokens, added = decoder_inputs(decoder.spec, ids, boxes)
    decoded, state = decoder.step(tokens, reset, state, **added)
    rows = zip(decoded.joints, boxes, decoded.confidence, strict=True)
    return [Motion(from_box(joints, box), confidence) for joints, box, confidence in rows], state


def predict_step(decoder: Decoder, boxes: Boxes, reset: NDArray[np.bool_], state: State) -> tuple[list[Motion], State]:
    """Foretell the next hop of B streams of a predictive tokenizer, within these boxes; else as `decode_step`."""
    nothing = np.zeros((0, *decoder.spec.token_grid[1:]), np.uint16)
    return decode_step(decoder, [nothing] * len(boxes), boxes, reset, state)


class HopDecoder:
    """Decodes the hops of any number of people, each with a state of their own."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self._states: dict[Hashable, State] = {}

    def decode(self, hops: Sequence[Hop], people: Sequence[Hashable] | None = None) -> list[Motion]:
        """Decode the next hops of different people in one step. Somebody not met before begins afresh.

        people: who they are, by default their tracks.
        """
        keys = [hop.track for hop in hops] if people is None else people
        afresh = [_afresh(self.decoder, h.reset, key in self._states) for h, key in zip(hops, keys, strict=True)]
        before = [self._states.get(key) for key in keys]
        states = [self.decoder.init_state(1) if state is None else state for state in before]
        ids, boxes = [hop.ids for hop in hops], [hop.box for hop in hops]
        motions, state = decode_step(self.decoder, ids, boxes, np.array(afresh), join(states))
        self._states.update(zip(keys, split(state, len(hops)), strict=True))
        return motions

    def keep(self, worth: Callable[[Hashable], bool]) -> None:
        """Drop the states of all people who are not worth keeping."""
        self._states = {key: state for key, state in self._states.items() if worth(key)}


@dataclass(slots=True)
class _Person:
    state: State
    seq: int = -1
    heard: float = 0.0
    box: tuple[float, ...] = ()


class StreamDecoder:
    """Decodes packets of any number of streams and people, each with a state of its own.

    open_decoder: opens a tokenizer by its name or directory, such as `engine.session.open_decoder`.
    tokenizer: use this one; otherwise each packet's own: what was given to `add`, else by the name in its label.

    The state starts afresh where a packet says `reset`, for somebody first heard in mid-stream and after lost
    packets; that of a predictive tokenizer goes on over up to a second of them as it probably would have. After either
    the motion is approximate until the next `reset`, or until the decoder has forgotten what it lacks.
    """

    def __init__(self, open_decoder: Callable[[str], Decoder], tokenizer: str | None = None) -> None:
        self._open = open_decoder
        self._tokenizer = tokenizer
        self._prepared: Decoder | None = None
        self.decoders: OrderedDict[str, Decoder] = OrderedDict()
        """What is open, by the label in the packets: the most recent ones."""
        self._people: OrderedDict[tuple[str, int, bytes, str], _Person] = OrderedDict()

    def prepare(self) -> None:
        """Open the tokenizer that was named, and run it once, so that packets find it ready. Raises TokenizerError."""
        if self._tokenizer is not None:
            self._prepared = self._open(self._tokenizer)
            self._prepared.warm((1,))

    def has(self, label: str) -> bool:
        """Whether packets of this label find their decoder open, or none would be opened for them."""
        return self._prepared is not None or label in self.decoders

    def add(self, label: str, decoder: Decoder) -> None:
        """Take a decoder for the packets of a label. Raises TokenizerError where it is another's."""
        if decoder.spec.label.partition("@")[2] != label.partition("@")[2]:
            raise TokenizerError(
                f"the packets were made with {label}, but {decoder.spec.label} was opened: "
                "give the directory of the right one with --tokenizer"
            )
        recall(self.decoders, label, lambda: decoder, DECODERS)

    def decode(self, packet: Packet) -> Motion:
        """Decode one packet; give those of one track in order.

        Raises TokenizerError if there is no such tokenizer here, PacketError if the packet does not fit it.
        """
        decoder = self._decoder(packet.tokenizer)
        _check_fit(packet, decoder.spec)
        key = (packet.stream, packet.track, packet.epoch, packet.tokenizer)
        person = recall(self._people, key, lambda: _Person(decoder.init_state(1)), TRACKS)
        lacking = packet.seq - person.seq - 1
        known = person.seq >= 0 and not packet.reset
        known = known and (lacking == 0 or self._go_on(decoder, person, lacking, packet))
        if not known:
            person.state = decoder.init_state(1)
        reset = np.array([_afresh(decoder, packet.reset, known)])
        (motion,), person.state = decode_step(decoder, [packet.ids()], [packet.box], reset, person.state)
        person.seq, person.heard, person.box = packet.seq, time.monotonic(), packet.box
        self._forget()
        return motion

    @staticmethod
    def _go_on(decoder: Decoder, person: _Person, lacking: int, packet: Packet) -> bool:
        """Take somebody's state over lost packets as it probably went; False where it cannot be told."""
        if not decoder.spec.predictive or not 0 < lacking * packet.hop <= packet.fps * FORETOLD_S:
            return False
        for _ in range(lacking):
            _, person.state = predict_step(decoder, [person.box], np.array([False]), person.state)
        return True

    def _decoder(self, label: str) -> Decoder:
        if label not in self.decoders:
            self.add(label, self._prepared or self._open(self._tokenizer or label.partition("@")[0]))
        self.decoders.move_to_end(label)
        return self.decoders[label]

    def _forget(self) -> None:
        silent_since = time.monotonic() - FORGET_S
        while next(iter(self._people.values())).heard < silent_since:
            self._people.popitem(last=False)


def _afresh(decoder: Decoder, begins: bool, known: bool) -> bool:
    """Say whether a state is reset: a predictive decoder is told the truth, as it forgets what it lacks by itself."""
    return begins or not (known or decoder.spec.predictive)


def _check_fit(packet: Packet, spec: TokenizerSpec) -> None:
    levels, *rest = packet.shape
    most, *cells = spec.token_grid
    fits = levels <= most if spec.predictive else levels == most
    if not fits or (packet.hop, rest, len(packet.box) - 1) != (spec.hop, cells, spec.dims):
        raise PacketError(
            f"hop {packet.hop}, grid {list(packet.shape)} and unit {packet.unit} do not fit {spec.label}: "
            f"{spec.dims}D, hop {spec.hop}, grid {list(spec.token_grid)}"
        )
    check_ids(packet, spec.vocabulary)
