"""Keep packets in a place of your own, each exactly once: after a break the reader goes on behind the last it has.

python -m stream.producer --demo --log tokens.db &
python examples/python/own_sink.py tcp://127.0.0.1:5555 mine.db
"""

import sqlite3
import sys

from stream import TokenStream

mine = sqlite3.connect(sys.argv[2])
mine.execute(
    "CREATE TABLE IF NOT EXISTS hops (stream, track, epoch, seq, wall, ids, PRIMARY KEY (stream, track, epoch, seq))"
)
last = "SELECT stream, track, epoch, max(seq) FROM hops GROUP BY stream, track, epoch"
since = {(stream, track, epoch): seq for stream, track, epoch, seq in mine.execute(last)}
with TokenStream(sys.argv[1], since=since, once=True, timeout=60) as stream:
    for packet in stream:
        row = (packet.stream, packet.track, packet.epoch, packet.seq, packet.wall, packet.ids().tobytes())
        with mine:  # on the disk before the next one is taken
            mine.execute("INSERT OR IGNORE INTO hops VALUES (?, ?, ?, ?, ?, ?)", row)
    print(f"{mine.execute('SELECT count(*) FROM hops').fetchone()[0]} hops kept, {len(stream.lost)} gaps")
mine.close()
