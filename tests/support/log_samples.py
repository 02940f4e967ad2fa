"""Token logs for the tests: whole ones, those of the first version, and damaged ones."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from stream.log.reader import LogReader
from stream.log.writer import TokenLog
from stream.wire.packets import Packet, encode
from wire_samples import sample

HOP_NS = 266_666_667

FIRST_VERSION = """
PRAGMA application_id = 1263816523;
PRAGMA user_version = 1;
CREATE TABLE packets (
    id INTEGER PRIMARY KEY, received INTEGER NOT NULL, stream TEXT NOT NULL, track INTEGER NOT NULL,
    epoch BLOB NOT NULL, seq INTEGER NOT NULL, frame INTEGER NOT NULL, t INTEGER NOT NULL, wall INTEGER NOT NULL,
    tokenizer TEXT NOT NULL, bytes BLOB NOT NULL, UNIQUE (stream, track, epoch, seq)
);
CREATE INDEX packets_by_time ON packets (wall);
"""


def hops(count: int, begin: int = 0, **changes: object) -> list[Packet]:
    """Return packets of one track, hop after hop, from seq `begin` on."""
    start = sample()
    return [
        sample(seq=seq, frame=8 * seq, t=start.t + seq * HOP_NS, wall=start.wall + seq * HOP_NS, **changes)
        for seq in range(begin, begin + count)
    ]


def append(log: TokenLog, packets: Iterable[Packet]) -> None:
    """Append packets as if each had come 1 ns after its capture."""
    for packet in packets:
        log.append(packet, encode(packet), packet.wall + 1)


def write_log(path: Path, packets: Iterable[Packet]) -> Path:
    """Write a log of these packets."""
    with TokenLog(path) as log:
        append(log, packets)
    return path


def write_first_version(path: Path, packets: Iterable[Packet]) -> Path:
    """Write a log as the first version of this program did."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(FIRST_VERSION)
        for p in packets:
            row = (None, p.wall + 1, p.stream, p.track, p.epoch, p.seq, p.frame, p.t, p.wall, p.tokenizer, encode(p))
            database.execute(f"INSERT INTO packets VALUES ({', '.join('?' * len(row))})", row)
        database.commit()
    return path


def packets_in(path: Path) -> list[Packet]:
    """Return the packets of a log in the order of time."""
    with LogReader(path) as reader:
        return [logged.packet for logged in reader.packets()]
