"""One person of a log as BVH, TRC, or everybody as MCAP: formats of bodies, not of tokens."""

from collections.abc import Callable, Iterator, Sequence
from typing import IO

from stream.errors import OutputError
from stream.files.body import Body, bodies
from stream.files.bvh import BvhSkeleton, bvh_lines
from stream.files.mcap import McapWriter
from stream.files.trc import trc_lines
from stream.files.writers import json_row
from stream.log.reader import Logged

SHOWN = 10
"""People named where one has to be chosen."""


class BodyWriter:
    """Writes one person's motion in cm as the lines of a text file: everything is held in memory until it is closed.

    Raises OutputError, in `close`, where there are several people, or the joints are in pixels.
    """

    def __init__(self, file: IO[bytes], lines: Callable[[Body], Iterator[str]]) -> None:
        self._file, self._lines = file, lines
        self._logged: list[Logged] = []

    def add(self, block: Sequence[Logged]) -> None:
        """Keep the packets."""
        self._logged += block

    def close(self) -> None:
        """Write the file."""
        found = bodies((each.packet, each.motion) for each in self._logged if each.motion is not None)
        if len(found) > 1:
            told = ", ".join(f"{body.stream}/{body.track}" for body in found[:SHOWN])
            raise OutputError(f"a file of this format holds one person: choose a --stream and a --track of {told}")
        (body,) = found
        if body.unit != "cm":
            raise OutputError(
                f"{body.stream}/{body.track} is in px: a skeleton needs 3D tokens (--dims 3d at the producer)"
            )
        self._file.writelines(f"{line}\n".encode() for line in self._lines(body))


class McapLogWriter:
    """Every packet and every body as MCAP."""

    def __init__(self, file: IO[bytes]) -> None:
        self._writer = McapWriter(file)

    def add(self, block: Sequence[Logged]) -> None:
        """Write packets and bodies."""
        for each in block:
            assert each.motion is not None
            self._writer.add(each.packet, each.motion, json_row(each))

    def close(self) -> None:
        """Write the index."""
        self._writer.close()


def bvh_writer(file: IO[bytes]) -> BodyWriter:
    """Return what writes BVH."""
    return BodyWriter(file, lambda body: bvh_lines(BvhSkeleton.fit(body), body.fps))


def trc_writer(file: IO[bytes]) -> BodyWriter:
    """Return what writes TRC."""
    return BodyWriter(file, trc_lines)
