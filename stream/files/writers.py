"""Packets in files: Parquet, JSON lines, NumPy arrays or a token log, whole or not at all."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import msgspec
import numpy as np

from stream.errors import LogError, OutputError
from stream.log.reader import Logged
from stream.log.writer import TokenLog

Format = Literal["parquet", "jsonl", "npz", "packed"]

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

DECODED = {"joints": "list<float32>", "confidence": "list<float32>"}
"""What decoding adds: [hop, 17, 2 or 3] and [hop, 17] in C order."""


ONE_PLACE = (1, 1, 1)
"""Time, height and width of the grid of a predictive tokenizer."""


class Writer(Protocol):
    """Takes packets, block by block, and writes them to a file."""

    def add(self, block: Sequence[Logged]) -> None:
        """Take some packets; either all of a file's have their motion or none."""

    def close(self) -> None:
        """Write what is left. The file stays open."""


def open_writer(to: Format, file: IO[bytes]) -> Writer:
    """Return what writes a format. Raises OutputError if a library for it is not installed."""
    writers: dict[Format, Callable[[IO[bytes]], Writer]] = {
        "jsonl": JsonWriter,
        "npz": ArrayWriter,
        "parquet": ParquetWriter,
        "packed": _packed_writer,
    }
    return writers[to](file)


def _packed_writer(file: IO[bytes]) -> Writer:
    from stream.files.packed import PackedWriter  # it opens engines, which the other formats do not need

    return PackedWriter(file)


@contextmanager
def whole_file(out: Path, force: bool = False) -> Iterator[Path]:
    """Give the path of a file that becomes `out` when all is well, and is removed otherwise.

    force: put it in the place of what is there. Raises OutputError where something is there, or it cannot be written.
    """
    if out.is_dir() or (out.exists() and not force):
        what = "is a folder" if out.is_dir() else "exists"
        raise OutputError(
            f"{out} {what}: remove it, choose another --out{'' if force else ', or replace a file with --force'}"
        )
    part = out.with_name(f"{out.name}.{os.getpid()}.part")
    try:
        with part.open("xb"):  # nobody else's
            pass
        yield part
        if part.exists():
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(out)
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}: check rights and space there") from error
    finally:
        with suppress(OSError):
            part.unlink()


def write_log(path: Path, logged: Sequence[Logged]) -> None:
    """Write packets as a token log. Raises OutputError where that cannot be done."""
    try:
        with TokenLog(path) as log:
            for each in logged:
                log.append(each.packet, each.frame, each.received)
    except LogError as error:
        raise OutputError(str(error)) from error


def fields_of(logged: Logged) -> dict[str, Any]:
    """Return a packet's fields by the names of the columns; ids are a flat array, joints are [hop, 17, D]."""
    packet = logged.packet
    fields = msgspec.structs.asdict(packet)
    fields |= {"epoch": packet.epoch.hex(), "received": logged.received, "tokens": packet.ids().ravel()}
    row = {name: fields[name] for name in COLUMNS}
    if logged.motion is not None:
        row |= {"joints": logged.motion.joints, "confidence": logged.motion.confidence}
    return row


class JsonWriter:
    """One JSON object a line; see `json_row`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def add(self, block: Sequence[Logged]) -> None:
        """Write a line a packet."""
        self._file.writelines(json_row(logged) + b"\n" for logged in block)

    def close(self) -> None:
        """All is written already."""


def json_row(logged: Logged) -> bytes:
    """Return a packet as one JSON object. Joints are nested lists, rounded to 0.001 px or cm."""
    return _JSON.encode(fields_of(logged))


def _listed(array: np.ndarray[Any, Any]) -> list[Any]:
    listed: list[Any] = array.tolist() if array.dtype.kind == "u" else np.round(array.astype(float), 3).tolist()
    return listed


_JSON = msgspec.json.Encoder(enc_hook=_listed)


class ArrayWriter:
    """One NumPy array a field, of all packets: everything is held in memory until it is closed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._blocks: list[dict[str, np.ndarray[Any, Any]]] = []
        self._form: tuple[Any, ...] | None = None

    def add(self, block: Sequence[Logged]) -> None:
        """Keep the packets. Raises OutputError if their token grids differ, or the form of their joints."""
        for logged in block:
            grid = logged.packet.shape
            if grid[1:] == ONE_PLACE:  # of a predictive tokenizer: any first levels
                grid = (0, *ONE_PLACE)
            form = (grid, None if logged.motion is None else logged.motion.joints.shape)
            self._form = self._form or form
            if form != self._form:
                what = "token grids" if form[0] != self._form[0] else "joints"
                told = " and ".join(str(list(each[what == "joints"])) for each in (self._form, form))
                raise OutputError(f"{what} {told} do not fit into one array: choose a --stream, or --to parquet")
        rows = [fields_of(logged) for logged in block]
        self._blocks.append({name: _column(name, block, rows) for name in rows[0] if name != "shape"})

    def close(self) -> None:
        """Write the arrays."""
        names = self._blocks[0]
        columns = {name: np.concatenate([block[name] for block in self._blocks]) for name in names if name != "tokens"}
        columns["tokens"] = _levelled([ids for block in self._blocks for ids in block["tokens"]])
        np.savez_compressed(self._file, **columns)  # type: ignore[arg-type]


def _column(name: str, block: Sequence[Logged], rows: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    if name == "tokens":
        column = np.empty(len(block), object)
        column[:] = [logged.packet.ids() for logged in block]
        return column
    if name == "box":  # NaN where a packet in px has no fourth number
        return np.array([(*logged.packet.box, np.nan)[:4] for logged in block])
    values = [row[name] for row in rows]
    if name in DECODED:
        return np.stack(values)
    return np.array(values) if COLUMNS[name] == "string" else np.array(values, COLUMNS[name])


def _levelled(ids: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Return the ids of packets [levels, t, h, w] as one array: int32, -1 for missing levels, where some have fewer."""
    most = max(len(each) for each in ids)
    if all(len(each) == most for each in ids):
        return np.stack(ids)
    whole = np.full((len(ids), most, *ids[0].shape[1:]), -1, np.int32)
    for row, each in zip(whole, ids, strict=True):
        row[: len(each)] = each
    return whole


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
            "list<float32>": pa.list_(pa.float32()),
            "list<float64>": pa.list_(pa.float64()),
            "bool": pa.bool_(),
        }

        def schema(columns: dict[str, str]) -> Any:
            return pa.schema([(name, kinds.get(kind) or pa.type_for_alias(kind)) for name, kind in columns.items()])

        self._schemas = {False: schema(COLUMNS), True: schema(COLUMNS | DECODED)}
        self._table = pa.Table
        self._open: Callable[[Any], Any] = lambda chosen: pq.ParquetWriter(file, chosen, compression="zstd")
        self._writer: Any = None

    def add(self, block: Sequence[Logged]) -> None:
        """Write a row group."""
        rows = [fields_of(logged) for logged in block]
        schema = self._schemas["joints" in rows[0]]
        for row in rows:
            row |= {name: row[name].ravel() for name in DECODED if name in row}
        self._writer = self._writer or self._open(schema)
        self._writer.write_table(self._table.from_pylist(rows, schema))

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()
