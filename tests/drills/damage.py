"""Damaged logs: cut off at every byte, every bit turned."""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass, field
from pathlib import Path

from stream.errors import LogError
from stream.log.reader import LogReader
from stream.log.writer import TokenLog
from stream.wire.packets import encode
from wire_samples import sample

from .result import Figure, Plan, at_least, exactly, told
from .rig import in_memory

PAGE = 4096
JOURNAL_FRAME = 24 + PAGE
PACKETS = 150
BATCH = 5


@dataclass
class Count:
    """What became of the damaged logs."""

    cases: int = 0
    refused: int = 0
    lost: int = 0
    altered: int = 0
    silent: int = 0
    broken: list[str] = field(default_factory=list)

    def __add__(self, other: "Count") -> "Count":
        """Return both together."""
        mine, theirs = astuple(self), astuple(other)
        return Count(*(a + b for a, b in zip(mine, theirs, strict=True)))


@dataclass(frozen=True)
class Log:
    """A log as a crash leaves it, and where in its file every packet stands."""

    main: bytes
    journal: bytes
    frames: list[bytes]
    committed: list[tuple[int, int]]
    """(length of the journal, packets acknowledged by then) after every commit."""


def run(plan: Plan) -> list[Figure]:
    """Cut a log at every byte of its last two pages, and its journal likewise; turn every bit of one page.

    Each damaged log is opened to be continued, then read. It must open or be refused by a LogError that names it;
    packets that stand before the damage, or on pages that were not touched, must all be there; none may be
    altered; and a log that lost packets to a turned bit must say so.
    """
    closed, crashed = _make(plan.scratch, closed=True), _make(plan.scratch, closed=False)
    step = 97 if plan.quick else 1
    bits = 8 * 211 + 3 if plan.quick else 1
    page = _page_of(closed, len(closed.frames) // 2)
    cuts = range(len(closed.main) - 2 * PAGE, len(closed.main), step)
    torn = range(len(crashed.journal) - 2 * JOURNAL_FRAME, len(crashed.journal), step)
    turned = range(8 * page, 8 * (page + PAGE), bits)
    head = range(0, 8 * 100, bits // 8 + 1)
    ranges = {
        "file cut": (closed, cuts),
        "journal cut": (crashed, torn),
        "bit of a page turned": (closed, turned),
        "bit of the head turned": (closed, head),
    }
    return [figure for what, (log, numbers) in ranges.items() for figure in _try(what, log, numbers)]


def _try(what: str, log: Log, numbers: range) -> list[Figure]:
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers) as pool:
        shares = [pool.submit(_share, what, log, numbers[worker::workers]) for worker in range(workers)]
        count = sum((share.result() for share in shares), Count())
    figures = [
        at_least(f"{what}: cases", 1, count.cases),
        exactly(f"{what}: neither opened nor refused", 0, len(count.broken)),
        exactly(f"{what}: intact packets lost", 0, count.lost),
        exactly(f"{what}: altered packets given", 0, count.altered),
        told(f"{what}: refused with a reason", str(count.refused)),
    ]
    if what.startswith("bit"):
        figures.append(exactly(f"{what}: losses not told", 0, count.silent))
    if count.broken:
        figures.append(told(f"{what}: the first of them", count.broken[0]))
    return figures


def _share(what: str, log: Log, numbers: range) -> Count:
    """Open a part of the damaged logs."""
    with in_memory() as folder:
        count = Count()
        for number in numbers:
            count.cases += 1
            _open(folder / "case", CASES[what](log, number), set(log.frames), count, f"{what} {number}")
        return count


def _open(home: Path, case: "Case", written: set[bytes], count: Count, what: str) -> None:
    main, journal, intact = case
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    path = home / "tokens.db"
    path.write_bytes(main)
    if journal:
        (home / "tokens.db-wal").write_bytes(journal)
    try:
        with TokenLog(path) as log:
            repair = log.repair
        with LogReader(path) as reader:
            found = {logged.frame for logged in reader.packets()}
            damaged = reader.damaged
    except LogError as error:
        count.refused += 1
        count.lost += len(intact)
        if "tokens.db" not in str(error):
            count.broken.append(f"{what}: {error}")
        return
    except Exception as error:
        count.broken.append(f"{what}: {type(error).__name__}: {error}")
        return
    count.lost += len(intact - found)
    count.altered += len(found - written)
    count.silent += bool(written - found) and repair is None and not damaged


def _make(scratch: Path, closed: bool) -> Log:
    path = scratch / f"{'closed' if closed else 'crashed'}.db"
    journal = path.with_name(path.name + "-wal")
    frames, committed = [], []
    with TokenLog(path) as log:
        for seq in range(PACKETS):
            packet = sample(seq=seq, track=seq % 3, frame=8 * seq, t=seq * 10**9)
            frames.append(encode(packet))
            log.append(packet, frames[-1], received=seq)
            if seq % BATCH == BATCH - 1:
                log.flush(now=True)
                committed.append((journal.stat().st_size, seq + 1))
        if not closed:
            return Log(path.read_bytes(), journal.read_bytes(), frames, committed)
    return Log(path.read_bytes(), b"", frames, committed)


def _page_of(log: Log, number: int) -> int:
    """Return where the page begins on which a packet stands."""
    return log.main.index(log.frames[number]) // PAGE * PAGE


def _before(log: Log, at: int) -> set[bytes]:
    """Return the packets on the pages before the one that is cut."""
    return {frame for frame in log.frames if log.main.index(frame) < at // PAGE * PAGE}


def _by(log: Log, length: int) -> set[bytes]:
    """Return the packets that were committed when the journal had this length."""
    return set(log.frames[: max((count for size, count in log.committed if size <= length), default=0)])


def _turned(log: Log, bit: int) -> "Case":
    content = bytearray(log.main)
    content[bit // 8] ^= 1 << bit % 8
    touched = bit // 8 // PAGE * PAGE
    intact = {frame for frame in log.frames if log.main.index(frame) // PAGE * PAGE != touched}
    return bytes(content), b"", intact


Case = tuple[bytes, bytes, set[bytes]]
"""Main file, journal, and the frames that must be found in them."""

CASES: dict[str, Callable[[Log, int], Case]] = {
    "file cut": lambda log, at: (log.main[:at], b"", _before(log, at)),
    "journal cut": lambda log, at: (log.main, log.journal[:at], _by(log, at)),
    "bit of a page turned": _turned,
    "bit of the head turned": _turned,
}
