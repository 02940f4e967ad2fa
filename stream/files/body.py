"""One person's way through a log, frame after frame, as the writers of motion files take it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from stream.codec.decode import Motion
from stream.motion.skeleton import Array
from stream.wire.packets import Packet


@dataclass(frozen=True)
class Body:
    """One track of one run of a producer.

    fps: frames per second. start: index of the first frame on the producer's clock. joints: float32 [T, 17, D] in px or
    cm, y down. filled: how many of the T frames were never received and repeat the frame before.
    """

    stream: str
    track: int
    epoch: bytes
    unit: str
    fps: float
    start: int
    joints: Array
    filled: int

    @property
    def name(self) -> str:
        """Tells this body from the others of a log: stream, track and the first digits of the run's epoch."""
        return f"{self.stream}-{self.track}-{self.epoch.hex()[:6]}"


def bodies(motions: Iterable[tuple[Packet, Motion]]) -> list[Body]:
    """Join decoded hops into one body for each track of each run, in the order in which they appear.

    The hops of one track come in order. Frames between two hops, where a person was out of sight or packets were lost,
    repeat the last one, so that every frame of a file is one tick of the clock.
    """
    hops: dict[tuple[str, int, bytes], list[tuple[Packet, Motion]]] = {}
    for packet, motion in motions:
        hops.setdefault((packet.stream, packet.track, packet.epoch), []).append((packet, motion))
    return [_join(each) for each in hops.values()]


def _join(hops: list[tuple[Packet, Motion]]) -> Body:
    first = hops[0][0]
    pieces: list[Array] = []
    end, filled = first.frame, 0
    for packet, motion in hops:
        if (gap := packet.frame - end) > 0:
            pieces.append(np.repeat(pieces[-1][-1:], gap, axis=0))
            filled += gap
        skipped = max(0, -gap)  # a hop never reaches back behind another, whatever a sender claims
        pieces.append(motion.joints[skipped:])
        end = max(end, packet.frame + len(motion.joints))
    joints = np.concatenate(pieces)
    return Body(first.stream, first.track, first.epoch, first.unit, first.fps, first.frame, joints, filled)
