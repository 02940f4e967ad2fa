"""A disk that forgets: what a traced process wrote and synced, and what a power cut may leave of it.

Fed with the lines of strace, it keeps for every file of a folder what is surely on the disk, that is written
before the last sync of that file, and what was written since, which may be there or not, in part and in any order.
The name of a new file is surely there only after a sync of the folder; so is the end of a deleted one.
"""

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

CALLS = "openat,pwrite64,write,ftruncate,fsync,fdatasync,unlink,unlinkat,rename"

_LINE = re.compile(r"(?P<pid>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<call>\w+)\()(?P<rest>.*)")
_HEX = re.compile(r"(?:\\x[0-9a-f]{2})+")

Change = Callable[[bytearray], None]


def trace(file: Path) -> list[str]:
    """Return the words before a command that write its calls to `file`, data and all, threads included."""
    return ["strace", "-f", "--seccomp-bpf", "-y", "-xx", "-s", "2000000", "-e", f"trace={CALLS}", "-o", str(file)]


def calls(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the finished calls of a trace, (name, arguments and result), in the order of their ends."""
    begun: dict[str, str] = {}
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            if not (found := _LINE.match(line)):
                continue
            if found["resumed"]:
                yield found["resumed"], begun.pop(found["pid"], "") + found["rest"]
            elif found["rest"].endswith("<unfinished ...>"):
                begun[found["pid"]] = found["rest"].removesuffix("<unfinished ...>")
            else:
                yield found["call"], found["rest"]


def text_in(rest: str) -> bytes:
    """Return the first string between quotes."""
    quoted = re.search(r'"([^"]*)"', rest)
    return _plain(quoted[1]) if quoted else b""


class Disk:
    """The files of one folder, as sure as they are. Feed it every call in order with `note`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bytes: dict[str, bytearray] = {}  # by name, content as of the last sync
        self._waiting: dict[str, list[Change]] = {}
        self._gone: dict[str, bytearray] = {}  # deleted, but perhaps still there after a cut
        self._named: set[str] = set()  # names that a sync of the folder has made sure
        self.syncs = 0

    def note(self, call: str, rest: str) -> None:
        """Take one call into account."""
        if re.search(r"= -1\b", rest):
            return
        path = self._path(call, rest)
        if path is None:
            return
        if path == self._folder:
            if call in ("fsync", "fdatasync"):
                self._named = set(self._bytes)
                self._gone.clear()
            return
        name = path.name
        if call == "openat":
            if name not in self._bytes and "O_CREAT" in rest:
                self._bytes[name], self._waiting[name] = bytearray(), []
        elif call in ("unlink", "unlinkat") and name in self._bytes:
            if name in self._named:
                self._gone[name] = self._bytes[name]
            self._bytes.pop(name)
            self._waiting.pop(name)
            self._named.discard(name)
        elif name in self._bytes:
            self._change(call, name, rest)

    def image(self, folder: Path, chance: random.Random, share: float) -> None:
        """Write to `folder` what a power cut now may leave.

        share: of what was not synced that is there all the same, from 0 to 1; the last of it is torn in the middle.
        """
        for old in folder.iterdir():
            old.unlink()
        for name, content in self._gone.items():
            if chance.random() >= share:
                (folder / name).write_bytes(content)
        for name, content in self._bytes.items():
            if name not in self._named and chance.random() >= share:
                continue
            left = bytearray(content)
            for change in self._waiting[name]:
                if chance.random() < share:
                    change(left)
            (folder / name).write_bytes(left)

    def _change(self, call: str, name: str, rest: str) -> None:
        if call in ("fsync", "fdatasync"):
            for change in self._waiting[name]:
                change(self._bytes[name])
            self._waiting[name] = []
            self.syncs += 1
        elif call == "ftruncate":
            self._waiting[name].append(_cut(_numbers(rest)[0]))
        elif call == "pwrite64":
            data = text_in(rest)
            offset = _numbers(rest)[1]
            # Half pages may be torn apart: disks write sectors.
            middle = len(data) // 2
            self._waiting[name] += [_put(offset, data[:middle]), _put(offset + middle, data[middle:])]

    def _path(self, call: str, rest: str) -> Path | None:
        """Return the file or folder that a call is about, if it is ours."""
        if call in ("openat", "unlink", "unlinkat"):
            path = Path(text_in(rest).decode(errors="replace"))
        elif found := re.match(r"\d+<([^>]*)>", rest):
            path = Path(_plain(found[1]).decode(errors="replace"))
        else:
            return None
        return path if path == self._folder or path.parent == self._folder else None


def _plain(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", "")) if _HEX.fullmatch(text) else text.encode()


def _numbers(rest: str) -> list[int]:
    """Return the numbers among the arguments after the first."""
    arguments = re.sub(r'"[^"]*"', "", rest).rpartition(")")[0].split(",")[1:]
    return [int(text) for text in arguments if text.strip().isdigit()]


def _put(offset: int, data: bytes) -> Change:
    def change(content: bytearray) -> None:
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data

    return change


def _cut(length: int) -> Change:
    def change(content: bytearray) -> None:
        content.extend(bytes(max(0, length - len(content))))
        del content[length:]

    return change
