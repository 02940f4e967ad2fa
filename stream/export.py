"""`python -m stream.export`: a token log as Parquet, JSON lines or NumPy arrays."""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once()

import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, ClassVar, Literal, cast

from rich.console import Console
from rich.progress import Progress

from engine.command.cli import run
from engine.command.messages import plain
from stream.errors import LogError, OutputError
from stream.files.bodies import McapLogWriter, bvh_writer, trc_writer
from stream.files.writers import Format, Writer, open_writer, whole_file
from stream.log.reader import Logged, LogReader, place_of, with_motion
from stream.wire.packets import check_stream_name

STDOUT = "-"

BODIES: dict[str, Callable[[IO[bytes]], Writer]] = {"bvh": bvh_writer, "trc": trc_writer, "mcap": McapLogWriter}
"""Formats of bodies: they need the joints."""

ROWS = 10_000
"""Packets of one row group of a Parquet file; those of other formats are counted off in this many."""


@dataclass(frozen=True)
class Config:
    """Write the packets of a token log to a file, in the order of time.

    jsonl: an object a line, as the subscriber's --json. parquet: a row a packet (needs the extra kinetoken[parquet]).
    packed: few bytes, the ids coded with the prior of a predictive tokenizer (stream.unpack; extra kinetoken[pack]).
    npz: an array a field, tokens as [packets, levels, time, height, width]; all packets must have one token grid.
    bvh, trc: one person's skeleton for Blender or OpenSim, in cm or mm, y up; needs 3D tokens. mcap: packets and
    skeletons for Foxglove (needs the extra kinetoken[mcap]). docs/files.md has every column.
    """

    EXITS: ClassVar = (5, 7, 9, 10, 13, 14)

    log: str
    """Token log to read; it may still be written meanwhile."""
    to: Format | Literal["bvh", "trc", "mcap"] = "jsonl"
    """Format of the file."""
    out: str | None = None
    """File to write, which must not exist; by default the log's name with another ending; - for standard output."""
    force: bool = False
    """Replace the file if it exists."""
    stream: str | None = None
    """Only the stream of this name."""
    track: int | None = None
    """Only the person with this id."""
    from_: str | None = None
    """Where to begin: a date and time such as 2026-05-01T12:00 (local, or with +00:00), or seconds from the start."""
    until: str | None = None
    """Where to end, in the same form; what is there at that moment is left out."""
    decode: bool = False
    """Add the joints of every packet and their confidence."""
    tokenizer: str | None = None
    """Name or directory of the tokenizer that decodes; by default each packet's own, which must be a shipped one."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if self.stream is not None:
            check_stream_name(self.stream)
        if self.from_ is not None:
            place_of(self.from_, 0)
        if self.until is not None:
            place_of(self.until, 0, "--until")
        if self.decode and self.to == "packed":
            raise ValueError("--decode goes with the other formats: packed files hold no joints")
        if self.tokenizer and not self.decodes:
            raise ValueError("--tokenizer goes with --decode")

    @property
    def decodes(self) -> bool:
        """Whether the joints are needed."""
        return self.decode or self.to in BODIES


EXAMPLES = """
  python -m stream.export tokens.db
  python -m stream.export tokens.db --to parquet --out tokens.parquet --stream camera
  python -m stream.export tokens.db --to npz --from 2026-05-01T12:00 --until 2026-05-01T12:30
  python -m stream.export tokens.db --to bvh --track 0 --out walk.bvh
  python -m stream.export tokens.db --decode --track 0 --out - | jq -c '.joints[-1][0]'
"""


def main(config: Config, stop: threading.Event) -> None:
    """Write the file whole or not at all. Raises IncompleteLogError at the end if the log lacks packets."""
    console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    with LogReader(config.log) as log:
        if config.out == STDOUT:
            written = _write_out(config, log, console, stop)
            if not stop.is_set():
                console.print(f"{written} packets", markup=False)
        else:
            out = Path(config.out) if config.out else Path(config.log).with_suffix(f".{config.to}")
            with whole_file(out, config.force) as part:
                with part.open("wb") as file:
                    written = _write(config, log, file, console, stop)
                if stop.is_set():
                    part.unlink()
                    console.print(plain(f"stopped: {out} is not written"), markup=False)
            if not stop.is_set():
                size = out.stat().st_size / 2**20
                console.print(plain(f"{written} packets in {out}, {size:.1f} MiB"), markup=False)
        if not stop.is_set():
            log.check()


def _write_out(config: Config, log: LogReader, console: Console, stop: threading.Event) -> int:
    """Write to standard output: lines as they come, other formats when they are whole."""
    if config.to == "jsonl":
        return _write(config, log, sys.stdout.buffer, console, stop)
    if sys.stdout.isatty():
        raise OutputError(f"--to {config.to} is not for a terminal: send it to a file or a pipe, or use --to jsonl")
    try:
        temporary = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    except OSError as error:
        raise OutputError(
            f"cannot create a temporary file ({error.strerror or error}): set TMPDIR to a writable folder, or write "
            "to a file with --out"
        ) from error
    with temporary as file:
        written = _write(config, log, file, console, stop)
        file.seek(0)
        if not stop.is_set():
            shutil.copyfileobj(file, sys.stdout.buffer)
        return written


def _chosen(config: Config, log: LogReader) -> Iterator[Logged]:
    """Yield the packets that are asked for, in the order of time."""
    _, first, _ = log.span()
    begin = None if config.from_ is None else place_of(config.from_, first)
    end = None if config.until is None else place_of(config.until, first, "--until")
    for each in log.packets(begin):
        if end is not None and each.time >= end:
            return
        if config.stream in (None, each.packet.stream) and config.track in (None, each.packet.track):
            yield each


def _write(config: Config, log: LogReader, file: IO[bytes], console: Console, stop: threading.Event) -> int:
    """Write all packets, or those before the stop; return how many. Raises LogError where there are none."""
    count, _, _ = log.span()
    logged = _chosen(config, log)
    logged = with_motion(logged, config.tokenizer) if config.decodes else logged
    writer = BODIES[config.to](file) if config.to in BODIES else open_writer(cast(Format, config.to), file)
    written = 0
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"{config.log} -> {config.out or config.to}", total=count)
        while not stop.is_set() and (block := list(islice(logged, ROWS))):
            writer.add(block)
            written += len(block)
            progress.update(task, completed=written)
    if stop.is_set():
        return written
    if not written:
        raise LogError(
            f"no such packets in {config.log}, which has {count}: check --stream, --track, --from and --until"
        )
    writer.close()
    file.flush()
    return written


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m stream.export", examples=EXAMPLES))
