"""Packets in a file of few bytes: their ids coded with a prior, all else in columns that compress well.

A file is one msgpack map: `kinetoken`: 1, the form; `priors`: tokenizers' labels and the weights hashes of their
priors; `runtime`: what computed the probabilities; `columns`: the other fields, each number of a column less the one
before it, its bytes by significance, together under xz; `names`: what those of `NAMES` count; `runs`: the coded ids of
each person, in the order of the columns; `sha256`: of all ids. What is written is read back before the file is whole.
"""

import hashlib
import lzma
import platform
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import TokenizerError
from engine.prior import Prior, prior_of
from engine.session import Decoder, open_decoder
from stream.errors import LogError, OutputError
from stream.log.reader import Logged
from stream.wire.packets import Packet, encode, pack_ids

FORM = 1

NUMBERS = ("track", "seq", "frame", "t", "wall", "received", "observed", "hop", "reset")
"""Fields that are whole numbers."""

NAMES = ("stream", "epoch", "tokenizer", "unit")
"""Fields that few values fill: a column holds which of them it is."""

MOST = 1 << 28
"""Bytes of the largest file, and of its columns, that is read."""


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """See the head of the file. columns: by name, under xz together; names: values of each of `NAMES`, epoch in hex."""

    kinetoken: int
    count: int
    priors: dict[str, str]
    runtime: str
    names: dict[str, list[str]]
    columns: bytes
    runs: list[bytes]
    sha256: bytes


class PackedWriter:
    """See `stream.files.writers.Writer`; everything is held in memory until it is closed.

    Raises OutputError where the extra is not installed; TokenizerError for packets of a tokenizer without a prior.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._rows: list[Logged] = []
        self._models = Models()

    def add(self, block: Sequence[Logged]) -> None:
        """Keep packets. Their joints are left out: whoever unpacks them can decode them."""
        for label in {logged.packet.tokenizer for logged in block}:
            self._models.of(label)
        self._rows += block

    def close(self) -> None:
        """Write the file. Raises OutputError if it cannot be read back."""
        packed = pack(self._rows, self._models)
        again = unpack(packed, self._models)
        if [each.packet for each in again] != [each.packet for each in self._rows]:
            raise OutputError("the packets do not come back as they were: use --to npz or db, and report it please")
        self._file.write(msgspec.msgpack.encode(packed))


class Models:
    """Decoders and priors, opened when they are first needed, always on the same engine."""

    def __init__(self) -> None:
        try:
            import constriction  # noqa: F401 - told before work is done
        except ImportError as error:
            raise OutputError(f"packed files need constriction ({error}): pip install 'kinetoken[pack]'") from error
        self._open: dict[str, tuple[Decoder, Prior]] = {}

    def of(self, label: str) -> tuple[Decoder, Prior]:
        """Return the decoder and the prior of a tokenizer. Raises TokenizerError."""
        if label not in self._open:
            prior = prior_of(label)
            self._open[label] = (open_decoder(label.partition("@")[0], "onnxruntime"), prior)
        return self._open[label]


def runtime() -> str:
    """Return what computes probabilities here, in so far as they may hang on it."""
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}, {platform.system()} {platform.machine()}"


def pack(rows: Sequence[Logged], models: Models) -> Packed:
    """Return packets in few bytes."""
    from stream.codec.entropy import pack as pack_run

    order = sorted(range(len(rows)), key=lambda number: _person(rows[number].packet))
    packets = [rows[number].packet for number in order]
    values = {name: [*dict.fromkeys(_named(packet, name) for packet in packets)] for name in NAMES}
    columns: dict[str, NDArray[Any]] = {"place": np.array(order)}
    columns |= {name: np.array([values[name].index(_named(p, name)) for p in packets]) for name in NAMES}
    received = {"received": [rows[number].received for number in order]}
    columns |= {n: np.array(received.get(n) or [getattr(p, n) for p in packets], _kind(n)) for n in NUMBERS}
    columns["levels"] = np.array([packet.shape[0] for packet in packets])
    columns["fps"] = np.array([packet.fps for packet in packets], np.float64).view(np.int64)
    boxes = np.array([(*packet.box, 0.0)[:4] for packet in packets], np.float64).T
    short = bool((boxes.astype(np.float32) == boxes).all())
    for axis, column in enumerate(boxes):
        columns[f"box{axis}"] = column.astype(np.float32).view(np.int32) if short else column.view(np.int64)
    runs, whole = [], hashlib.sha256()
    for person, places, ids in _runs(packets):
        runs.append(pack_run(ids, places, *models.of(person[3])).astype("<u4").tobytes())
        for each in ids:
            whole.update(each.astype("<u2").tobytes())
    return Packed(
        kinetoken=FORM,
        count=len(rows),
        priors={label: models.of(label)[1].spec.weights_hash for label in values["tokenizer"]},
        runtime=runtime(),
        names=values,
        columns=lzma.compress(msgspec.msgpack.encode({name: _shuffled(column) for name, column in columns.items()})),
        runs=runs,
        sha256=whole.digest(),
    )


def read_packed(file: Path) -> list[Logged]:
    """Return the packets of a packed file, as they were. Raises LogError where that cannot be."""
    try:
        if file.stat().st_size > MOST:
            raise LogError(f"{file} is larger than {MOST} bytes: it is no packed file")
        packed = msgspec.msgpack.decode(file.read_bytes(), type=Packed)
    except OSError as error:
        raise LogError(f"cannot read {file}: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LogError(f"{file} is no packed file, or damaged: {error}") from None
    if packed.kinetoken != FORM:
        raise LogError(f"{file} has form {packed.kinetoken}, this version reads {FORM}: update kinetoken")
    try:
        return unpack(packed, Models())
    except (ValueError, KeyError, IndexError, lzma.LZMAError, msgspec.DecodeError) as error:
        raise LogError(f"{file} is damaged: {error}") from None
    except (LogError, TokenizerError) as error:
        raise LogError(f"{file}: {error}") from None


def unpack(packed: Packed, models: Models) -> list[Logged]:
    """Return packets as they were. Raises LogError where another machine's probabilities were others."""
    from stream.codec.entropy import Place
    from stream.codec.entropy import unpack as unpack_run

    for label, weights in packed.priors.items():
        if models.of(label)[1].spec.weights_hash != weights:
            raise LogError(f"it was packed with another prior of {label}: unpack it with the version that packed it")
    raw = lzma.LZMADecompressor().decompress(packed.columns, MOST)
    stored = msgspec.msgpack.decode(raw, type=dict[str, tuple[str, bytes]])
    columns = {name: _restored(*column) for name, column in stored.items()}
    if {len(column) for column in columns.values()} != {packed.count}:
        raise ValueError("its columns are not all of one length")
    boxes = [columns[f"box{axis}"] for axis in range(4)]
    kind = np.float32 if boxes[0].dtype == np.int32 else np.float64
    placed = np.stack([column.view(kind) for column in boxes], axis=1).astype(np.float64)
    rows: list[dict[str, Any]] = []
    for number in range(packed.count):
        row: dict[str, Any] = {name: packed.names[name][columns[name][number]] for name in NAMES}
        row |= {name: int(columns[name][number]) for name in NUMBERS}
        sides = 3 if row["unit"] == "px" else 4
        row |= {"fps": float(columns["fps"].view(np.float64)[number]), "box": tuple(placed[number, :sides].tolist())}
        row |= {"epoch": bytes.fromhex(row["epoch"]), "reset": bool(row["reset"])}
        rows.append(row | {"levels": int(columns["levels"][number])})
    whole, found = hashlib.sha256(), []
    for words, (_, run) in zip(packed.runs, groupby(rows, key=_person_of_row), strict=True):
        mine = list(run)
        decoder, prior = models.of(mine[0]["tokenizer"])
        begins = [True, *(b["seq"] != a["seq"] + 1 or b["reset"] for a, b in pairwise(mine))]
        places = [Place(row["box"], row["levels"], new) for row, new in zip(mine, begins, strict=True)]
        found += unpack_run(np.frombuffer(words, "<u4").astype(np.uint32), places, decoder, prior)
    for ids in found:
        whole.update(ids.astype("<u2").tobytes())
    if whole.digest() != packed.sha256:
        raise LogError(
            f"its ids do not come back: it was packed with {packed.runtime}, and this is {runtime()}; unpack it there, "
            "or, where both are the same, it is damaged"
        )
    logged: list[Logged | None] = [None] * packed.count
    for row, ids, place in zip(rows, found, columns["place"].tolist(), strict=True):
        logged[place] = _logged(row, ids)
    return [each for each in logged if each is not None]


def _logged(row: dict[str, Any], ids: NDArray[np.uint16]) -> Logged:
    received, _ = row.pop("received"), row.pop("levels")
    shape, tokens = pack_ids(ids.reshape(-1, 1, 1, 1))
    packet = Packet(**row, shape=shape, tokens=tokens)
    return Logged(packet, encode(packet), received, packet.wall)


def _runs(packets: Sequence[Packet]) -> Iterator[tuple[tuple[Any, ...], list[Any], list[NDArray[np.uint16]]]]:
    """Yield each person's stretch of packets: who it is, where its hops stand, and their ids."""
    from stream.codec.entropy import Place

    for person, run in groupby(packets, key=lambda packet: _person(packet)[:4]):
        mine = list(run)
        begins = [True, *(b.seq != a.seq + 1 or b.reset for a, b in pairwise(mine))]
        places = [Place(packet.box, packet.shape[0], new) for packet, new in zip(mine, begins, strict=True)]
        yield person, places, [packet.ids().ravel() for packet in mine]


def _person(packet: Packet) -> tuple[Any, ...]:
    return packet.stream, packet.epoch, packet.track, packet.tokenizer, packet.seq


def _person_of_row(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["stream"], row["epoch"], row["track"], row["tokenizer"]


def _named(packet: Packet, name: str) -> str:
    return packet.epoch.hex() if name == "epoch" else str(getattr(packet, name))


def _kind(name: str) -> type:
    return np.uint64 if name == "observed" else np.int64


def _shuffled(column: NDArray[Any]) -> tuple[str, bytes]:
    """Return a column's type, and its differences, the least significant bytes of all first."""
    whole = column.astype(column.dtype.newbyteorder("<"))
    differences = np.diff(whole, prepend=whole.dtype.type(0))
    return whole.dtype.str, differences.astype(whole.dtype).view(np.uint8).reshape(-1, whole.dtype.itemsize).T.tobytes()


def _restored(kind: str, data: bytes) -> NDArray[Any]:
    if kind not in ("<i8", "<u8", "<i4"):
        raise ValueError(f"a column of type {kind}")
    size = np.dtype(kind).itemsize
    differences = np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(size, -1).T).view(kind)[:, 0]
    restored: NDArray[Any] = np.cumsum(differences, dtype=kind)
    return restored
