"""Prints a packet's line once the packet is on the disk: the line is the acknowledgement."""

import logging

from stream.command.messages import say
from stream.log.writer import LOCKED, TokenLog
from stream.subscribe.heard import Heard


class LoggedLines:
    """Keeps packets in a log and prints their lines after the commit.

    Packets that the log cannot take, the disk being full, are not acknowledged: their lines are not printed.
    """

    def __init__(self, log: TokenLog) -> None:
        self._log = log
        self._lines: list[str] = []
        self._fault: str | None = None

    def add(self, heard: Heard, line: str) -> None:
        """Take a packet and its line."""
        self._log.append(heard.packet, heard.frame, heard.wall)
        self._lines.append(line)

    def flush(self, now: bool = False) -> None:
        """Commit what has waited long enough, or all `now`, and print its lines. Call it often."""
        kept = self._log.flush(now)
        if self._log.waiting:
            if self._log.fault == LOCKED:
                self._tell()
            return
        lines, self._lines = self._lines, []
        if kept:
            print("\n".join(lines))
        self._tell()

    def close(self) -> None:
        """Commit and print the rest, close the log. Raises IncompleteLogError if packets are missing."""
        try:
            self.flush(now=True)
        finally:
            if self._log.close():  # what waited, all of it
                print("\n".join(self._lines))

    def _tell(self) -> None:
        if self._log.fault == self._fault:
            return
        self._fault = self._log.fault
        if self._fault:
            what = "waits for it" if self._fault == LOCKED else "is neither kept nor printed"
            told = f"log: {self._fault}: what comes now {what}"
            say(told, "log failed", logging.WARNING, fault=self._fault)
        else:
            say("log: it can be written again", "log works again")
