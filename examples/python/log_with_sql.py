"""Ask a token log with SQL: it is an SQLite file, and the ids are one function away.

python -m stream.producer --demo --duration 10 --log tokens.db
python examples/python/log_with_sql.py tokens.db
"""

import sqlite3
import sys

from stream.wire.packets import decode

PEOPLE = """
SELECT stream, track, count(*) AS packets, (max(time) - min(time)) / 1e9 AS seconds
FROM packets GROUP BY stream, track ORDER BY stream, track
"""

USED = """
SELECT id(bytes, 0), count(*) AS times FROM packets GROUP BY 1 ORDER BY times DESC, 1 LIMIT 3
"""

with sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True) as log:
    log.create_function("id", 2, lambda frame, place: int(decode(frame).ids().flat[place]), deterministic=True)
    for stream, track, packets, seconds in log.execute(PEOPLE):
        print(f"{stream}/{track}: {packets} packets in {seconds:.1f} s")
    for number, times in log.execute(USED):
        print(f"first id of a packet is {number}: {times} times")
