"""`python -m stream.unpack`: a packed file of tokens as a token log, Parquet, JSON lines or NumPy arrays."""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once()

import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from engine.command.cli import run
from stream.files.packed import read_packed
from stream.files.writers import open_writer, whole_file, write_log


@dataclass(frozen=True)
class Config:
    """Give the packets of a packed file back, id for id as they were.

    It needs the same build of ONNX Runtime and the same kind of processor as the packing; a checksum tells where that
    is not so. Packed files come from stream.export and stream.tokenize, --to packed.
    """

    EXITS: ClassVar = (5, 7, 10, 13, 14)

    file: str
    """Packed file."""
    to: Literal["db", "npz", "parquet", "jsonl"] = "db"
    """Format of what is written: a token log, to be replayed or exported, or as in stream.export."""
    out: str | None = None
    """File to write, which must not exist; by default the packed file's name with another ending."""
    force: bool = False
    """Replace the file if it exists."""


EXAMPLES = """
  python -m stream.unpack tokens.packed
  python -m stream.unpack tokens.packed --to npz --out tokens.npz
"""


def main(config: Config, stop: threading.Event) -> None:
    """Write the file whole or not at all."""
    logged = read_packed(Path(config.file))
    out = Path(config.out) if config.out else Path(config.file).with_suffix(f".{config.to}")
    with whole_file(out, config.force) as part:
        if config.to == "db":
            part.unlink()
            write_log(part, logged)
        else:
            with part.open("wb") as file:
                writer = open_writer(config.to, file)
                writer.add(logged)
                writer.close()
    print(f"{len(logged)} packets in {out}")


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m stream.unpack", examples=EXAMPLES))
