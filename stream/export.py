"""`python -m stream.export`: a token log as Parquet, JSON lines or NumPy arrays."""

if __name__ == "__main__":  # before the slow imports
    from stream.command.lifecycle import end_at_once

    end_at_once()

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import Progress

from stream.command.cli import run
from stream.errors import LogError, OutputError
from stream.log.reader import Logged, LogReader
from stream.replay import begin_of
from stream.wire.packets import check_stream_name

Format = Literal["parquet", "jsonl", "npz"]

ROWS = 10_000
"""Packets of one row group of a Parquet file; those of other formats are counted off in this many."""

COLUMNS = {
    "stream": "string",
    "track": "int64",
    "epoch": "string",
    "seq": "int64",
    "frame": "int64",
    "t": "int64",
    "wall": "int64",
    "received": "int64",
    "fps": "float64",
    "hop": "int32",
    "tokenizer": "string",
    "shape": "list<int32>",
    "tokens": "list<uint16>",
    "box": "list<float64>",
    "unit": "string",
    "observed": "uint64",
    "reset": "bool",
}
"""The fields of a packet and `received`, ns since 1970; epoch in hex, tokens in C order."""


@dataclass(frozen=True)
class Config:
    """Write the packets of a token log to a file, in the order of time.

    jsonl: an object a line, as the subscriber's --json. parquet: a row a packet (needs the extra kinetoken[parquet]).
    npz: an array a field, tokens as [packets, levels, time, height, width]; all packets must have one token grid.
    """

    log: str
    """Token log to read; it may still be written meanwhile."""
    to: Format = "jsonl"
    """Format of the file."""
    out: str | None = None
    """File to write, which must not exist; by default the log's name with another ending."""
    stream: str | None = None
    """Only the stream of this name."""
    from_: str | None = None
    """Where to begin: a date and time such as 2026-05-01T12:00 (local, or with +00:00), or seconds from the start."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of range."""
        if self.stream is not None:
            check_stream_name(self.stream)
        if self.from_ is not None:
            begin_of(self.from_, 0)


EXAMPLES = """
  python -m stream.export tokens.db
  python -m stream.export tokens.db --to parquet --out tokens.parquet --stream camera
  python -m stream.export tokens.db --to npz --from 2026-05-01T12:00
"""


def main(config: Config, stop: threading.Event) -> None:
    """Write the file whole or not at all. Raises IncompleteLogError at the end if the log lacks packets."""
    console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    with LogReader(config.log) as log:
        out = Path(config.out) if config.out else Path(config.log).with_suffix(f".{config.to}")
        if out.exists():
            raise OutputError(f"{out} exists: remove it or choose another --out")
        count, first, _ = log.span()
        begin = None if config.from_ is None else begin_of(config.from_, first)
        chosen = (each for each in log.packets(begin) if config.stream in (None, each.packet.stream))
        part = out.with_name(f"{out.name}.{os.getpid()}.part")
        try:
            with part.open("xb") as file, Progress(console=console, disable=not console.is_terminal) as progress:
                task = progress.add_task(f"{config.log} -> {out}", total=count)
                writer = open_writer(config.to, file)
                written = 0
                while not stop.is_set() and (block := list(islice(chosen, ROWS))):
                    writer.add(block)
                    written += len(block)
                    progress.update(task, completed=written)
                if stop.is_set():
                    console.print(f"stopped: {out} is not written", markup=False)
                    return
                if not written:
                    raise LogError(f"no such packets in {config.log}, which has {count}: check --stream and --from")
                writer.close()
                file.flush()
                os.fsync(file.fileno())
            part.rename(out)
        except OSError as error:
            raise OutputError(f"cannot write {out}: {error.strerror or error}: check rights and space there") from error
        finally:
            with suppress(OSError):
                part.unlink()
        console.print(f"{written} packets in {out}, {out.stat().st_size / 2**20:.1f} MiB", markup=False)
        log.check()


class Writer(Protocol):
    """Takes packets, block by block, and writes them to a file."""

    def add(self, block: list[Logged]) -> None:
        """Take some packets."""

    def close(self) -> None:
        """Write what is left. The file stays open."""


def open_writer(to: Format, file: IO[bytes]) -> Writer:
    """Return what writes a format. Raises OutputError if a library for it is not installed."""
    writers: dict[Format, Callable[[IO[bytes]], Writer]] = {
        "jsonl": JsonWriter,
        "npz": ArrayWriter,
        "parquet": ParquetWriter,
    }
    return writers[to](file)


def fields_of(logged: Logged) -> dict[str, Any]:
    """Return a packet's fields by the names of `COLUMNS`, the ids as a flat array."""
    packet = logged.packet
    fields = msgspec.structs.asdict(packet)
    fields |= {"epoch": packet.epoch.hex(), "received": logged.received, "tokens": packet.ids().ravel()}
    return {name: fields[name] for name in COLUMNS}


class JsonWriter:
    """One JSON object a line."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._encoder = msgspec.json.Encoder(enc_hook=lambda array: array.tolist())

    def add(self, block: list[Logged]) -> None:
        """Write a line a packet."""
        self._file.write(self._encoder.encode_lines([fields_of(logged) for logged in block]))

    def close(self) -> None:
        """All is written already."""


class ArrayWriter:
    """One NumPy array a field, of all packets: everything is held in memory until it is closed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._blocks: list[dict[str, np.ndarray[Any, Any]]] = []

    def add(self, block: list[Logged]) -> None:
        """Keep the packets. Raises OutputError if their token grids differ."""
        shapes = {logged.packet.shape for logged in block} | {each["tokens"].shape[1:] for each in self._blocks[:1]}
        if len(shapes) > 1:
            told = " and ".join(str(list(shape)) for shape in sorted(shapes))
            raise OutputError(f"token grids {told} do not fit into one array: choose a --stream, or --to parquet")
        self._blocks.append({name: _column(name, block) for name in COLUMNS if name != "shape"})

    def close(self) -> None:
        """Write the arrays."""
        names = self._blocks[0]
        columns = {name: np.concatenate([block[name] for block in self._blocks]) for name in names}
        np.savez_compressed(self._file, **columns)  # type: ignore[arg-type]


def _column(name: str, block: list[Logged]) -> np.ndarray[Any, Any]:
    packets = [logged.packet for logged in block]
    if name == "tokens":
        return np.stack([packet.ids() for packet in packets])
    if name == "box":  # NaN where a packet in px has no fourth number
        return np.array([(*packet.box, np.nan)[:4] for packet in packets])
    values = [fields_of(logged)[name] for logged in block]
    kind = COLUMNS[name]
    return np.array(values) if kind == "string" else np.array(values, kind)


class ParquetWriter:
    """One row a packet, in row groups."""

    def __init__(self, file: IO[bytes]) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise OutputError("Parquet needs pyarrow: pip install 'kinetoken[parquet]', or use --to jsonl") from error
        kinds = {
            "list<int32>": pa.list_(pa.int32()),
            "list<uint16>": pa.list_(pa.uint16()),
            "list<float64>": pa.list_(pa.float64()),
            "bool": pa.bool_(),
        }
        self._schema = pa.schema([(name, kinds.get(kind) or pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])
        self._table = pa.Table
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")

    def add(self, block: list[Logged]) -> None:
        """Write a row group."""
        self._writer.write_table(self._table.from_pylist([fields_of(logged) for logged in block], self._schema))

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m stream.export", examples=EXAMPLES))
