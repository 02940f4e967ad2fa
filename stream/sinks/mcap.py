"""A new MCAP file of what comes, which Foxglove plays; see `stream.files.mcap`."""

from pathlib import Path
from typing import IO

from stream.errors import OutputError
from stream.files.json_line import json_line
from stream.files.mcap import McapWriter
from stream.subscribe.heard import Heard


class McapSink:
    """Writes a new file. Raises OutputError if the file exists or cannot be written."""

    decodes = True

    def __init__(self, path: str | Path) -> None:
        try:
            self._file: IO[bytes] = Path(path).open("xb")  # noqa: SIM115  # `close` closes it
        except FileExistsError:
            raise OutputError(f"{path} exists: remove it or choose another file") from None
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
        self._writer = McapWriter(self._file)

    def packet(self, heard: Heard) -> None:
        """Write a packet and its frames."""
        assert heard.motion is not None
        self._writer.add(heard.packet, heard.motion, json_line(heard).encode())

    def gone(self, stream: str) -> None:
        """Nothing to do: what is shown vanishes when its lifetime is over."""

    def close(self) -> None:
        """Finish the file. Idempotent."""
        if not self._file.closed:
            self._writer.close()
            self._file.close()
