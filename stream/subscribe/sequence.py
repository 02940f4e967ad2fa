"""What the sequence numbers of one track tell: which packets were lost, came twice or came late."""

from dataclasses import dataclass
from typing import Literal

Arrival = Literal["new", "duplicate", "late"]

WINDOW = 1024
"""How many of the latest sequence numbers are remembered one by one."""


@dataclass(slots=True)
class Sequence:
    """The numbers heard of one (stream, track, epoch), counted exactly within the last `WINDOW`.

    - new: higher than any before. The numbers skipped are lost. The count begins where `join` says, or else with
      the first one heard: what went before is nobody's loss.
    - duplicate: heard before.
    - late: not heard before, but lower than one that was. If it had been counted as lost, it no longer is.
      A number more than `WINDOW` behind is late too, and stays counted as lost.
    """

    first: int = -1
    last: int = -1
    heard: int = 0  # bit i: number `last - i` was heard

    @property
    def joined(self) -> bool:
        """Whether it is known where the count begins."""
        return self.first >= 0

    def join(self, first: int) -> None:
        """Begin the count with `first`, which is the next one to come; what went before is nobody's loss."""
        self.first, self.last = first, first - 1

    def take(self, seq: int) -> tuple[Arrival, int]:
        """Note that `seq` arrived; return what it is and by how much the number of lost packets changes."""
        if not self.joined:
            self.join(seq)
        if seq > self.last:
            lost = self.close(seq) - 1
            self.heard |= 1
            return "new", lost
        bit = 1 << behind if (behind := self.last - seq) < WINDOW else 0
        if self.heard & bit:
            return "duplicate", 0
        self.heard |= bit
        return "late", -1 if bit and seq >= self.first else 0

    def close(self, seq: int) -> int:
        """Note that numbers up to `seq` were sent; return how many of them are missing at the end."""
        missing = max(0, seq - self.last)
        self.last += missing
        self.heard = (self.heard << missing) & ((1 << WINDOW) - 1) if missing < WINDOW else 0
        return missing
