"""Power loss: what the disk keeps of a log at any moment at which the power may fail."""

import random
import shutil
import signal
import time
from pathlib import Path

from stream.log.writer import TokenLog
from stream.publish.publisher import Publisher
from wire_samples import hop_of

from .disk import Disk, calls, text_in, trace
from .result import Figure, NotRun, Plan, at_least, exactly, told
from .rig import PATIENCE, Child, Key, duplicates, in_memory, key_of, logged, subscriber, wait_for

SHARES = (0.0, 0.5, 1.0)
"""Of what was written but not synced, how much survives: nothing, a random half, everything."""


def run(plan: Plan) -> list[Figure]:
    """Trace every write and sync of a real logger, then cut the power after each acknowledgement and in between.

    Each cut leaves what was synced, and of the rest nothing, a random half in half pages, or everything. The
    log is opened from what is left: every packet acknowledged before the cut must be in it.
    """
    if shutil.which("strace") is None:
        raise NotRun("strace is not installed")
    home = plan.scratch / "home"
    home.mkdir()
    record = plan.scratch / "trace"
    _live(home / "tokens.db", record, packets=200 if plan.quick else 5000)
    with in_memory() as after:
        return _cut_everywhere(home, record, after, every=40 if plan.quick else 100)


def _live(log: Path, record: Path, packets: int) -> None:
    """Let a traced logger live from start to end."""
    with Publisher("tcp://127.0.0.1:*", "power", live=False) as publisher:
        command = [*trace(record), *subscriber(publisher.address, "--log", str(log))]
        with Child(command) as logger:
            if not publisher.wait_for_subscriber(PATIENCE):
                if "Operation not permitted" in logger.said:
                    raise NotRun("strace may not trace here")
                raise TimeoutError(f"the traced logger does not come: {logger.said}")
            for n in range(packets):
                publisher.publish(**hop_of(track=n % 4, frame=8 * n))
                time.sleep(0.002)
            wait_for(lambda: len(logger.out) >= packets, "every packet acknowledged")
            logger.send(signal.SIGTERM)
            logger.end()


def _cut_everywhere(home: Path, record: Path, after: Path, every: int) -> list[Figure]:
    chance = random.Random(3)
    disk = Disk(home)
    acknowledged: list[Key] = []
    cuts = lost = twice = unopened = 0
    printed = b""
    for number, (call, rest) in enumerate(calls(record)):
        disk.note(call, rest)
        *lines, printed = (printed + _printed(call, rest)).split(b"\n")
        acknowledged += [key_of(line.decode()) for line in lines]
        if not (lines and len(acknowledged) % every == 0) and chance.random() > 1 / every:
            continue
        for share in SHARES:
            disk.image(after, random.Random(number), share)
            cuts += 1
            try:
                with TokenLog(after / "tokens.db"):
                    pass
                kept = logged(after / "tokens.db")
            except Exception:
                unopened += 1
                lost += len(acknowledged)
                continue
            lost += len(set(acknowledged) - set(kept))
            twice += duplicates(kept)
    return [
        told("packets acknowledged", str(len(acknowledged))),
        at_least("syncs seen", 1, disk.syncs),
        at_least("power cuts", 1, cuts),
        exactly("acknowledged and lost", 0, lost),
        exactly("logs that do not open", 0, unopened),
        exactly("duplicates", 0, twice),
    ]


def _printed(call: str, rest: str) -> bytes:
    return text_in(rest) if call == "write" and rest.startswith("1<") else b""
