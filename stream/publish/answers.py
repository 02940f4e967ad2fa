"""What the control socket answers: from memory, from the producer's log and from the tokenizer's files."""

import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Protocol

from engine.spec import FILES, SUMS, TokenizerFiles, sha256
from stream.codec.rate import Rate
from stream.publish.history import History
from stream.wire.packets import LARGEST, decode
from stream.wire.requests import (
    CHUNK,
    EPOCHS,
    FRAMES,
    TRACKS,
    Chunk,
    ChunkReply,
    FileInfo,
    Files,
    FilesReply,
    Info,
    InfoReply,
    Ping,
    Pong,
    RateReply,
    Replay,
    ReplayReply,
    Reply,
    Request,
    SetRate,
    Snapshot,
    SnapshotReply,
    StreamInfo,
)

SERVED = (*FILES, SUMS, "README.md")


class Unanswerable(Exception):
    """Nothing of what is asked for is known here; the text says what is not."""


class Archive(Protocol):
    """A log that older packets come from, such as `stream.log.reader.LogReader`. What it raises is a KinetokenError."""

    def frames(self, stream: str, track: int, epoch: bytes, first: int, last: int) -> Iterator[bytes]:
        """Yield the frames of one track with `first` <= seq <= `last` in the order of seq."""

    def epochs(self, stream: str, limit: int) -> list[bytes]:
        """Return the newest `limit` epochs of a stream, oldest first."""

    def ends(self, stream: str, epoch: bytes, track: int, limit: int) -> list[tuple[int, int]]:
        """Return (track, last seq) of the lowest `limit` tracks from id `track` on."""


class Answers:
    """Answers requests about one producer. For use from one thread."""

    def __init__(self, history: History, tokenizer: TokenizerFiles | None, log: Archive | None) -> None:
        self._history, self._tokenizer, self._log = history, tokenizer, log
        self._files: tuple[FileInfo, ...] | None = None
        self.set_rate: Callable[[Rate], None] | None = None
        """Makes a producer's tokens as many as a reader asks for; None: readers have no say in it."""

    def answer(self, request: Request) -> Reply:
        """Return the reply. Raises Unanswerable; OSError, KinetokenError if files or the log cannot be read."""
        match request:
            case Ping():
                now = time.monotonic_ns()
                return Pong(id=request.id, t=request.t, received=now, sent=time.monotonic_ns(), wall=time.time_ns())
            case Info():
                return InfoReply(id=request.id, streams=(self._info(),))
            case Snapshot():
                return self._snapshot(request)
            case Replay():
                return self._replay(request)
            case Files():
                return FilesReply(id=request.id, tokenizer=request.tokenizer, files=self._listed(request.tokenizer))
            case Chunk():
                return self._chunk(request)
            case SetRate():
                return self._rate(request)

    def _info(self) -> StreamInfo:
        history, contents = self._history, self._history.contents()
        earlier = self._log.epochs(history.stream, EPOCHS) if self._log else []
        packet = contents.packet
        return StreamInfo(
            stream=history.stream,
            epoch=history.epoch,
            epochs=(*[epoch for epoch in earlier if epoch != history.epoch][-EPOCHS + 1 :], history.epoch),
            uptime=time.monotonic() - history.started,
            tokenizer=packet.tokenizer if packet else None,
            fps=packet.fps if packet else 0.0,
            hop=packet.hop if packet else 0,
            tracks=contents.tracks,
            packets=contents.packets,
            span=contents.span,
            log=self._log is not None,
        )

    def _rate(self, request: SetRate) -> RateReply:
        self._check_stream(request.stream)
        if self.set_rate is None:
            raise Unanswerable("readers may not change the rate here: start the producer with --steerable")
        try:
            self.set_rate(Rate(request.levels, request.quality))
        except ValueError as error:
            raise Unanswerable(str(error)) from None
        return RateReply(id=request.id, stream=request.stream, levels=request.levels, quality=request.quality)

    def _snapshot(self, request: Snapshot) -> SnapshotReply:
        self._check_stream(request.stream)
        epoch = request.epoch or self._history.epoch
        if epoch == self._history.epoch:
            tracks = self._history.tracks(request.track, TRACKS + 1, request.at)
        else:
            found = self._log.ends(request.stream, epoch, request.track, TRACKS + 1) if self._log else []
            if not found and request.track == 0:
                raise Unanswerable(f"no epoch {epoch.hex()} here")
            tracks = [(track, last, 0) for track, last in found]
        return SnapshotReply(
            id=request.id,
            stream=request.stream,
            epoch=epoch,
            tracks=tuple(tracks[:TRACKS]),
            more=len(tracks) > TRACKS,
        )

    def _replay(self, request: Replay) -> ReplayReply:
        self._check_stream(request.stream)
        first, last = request.first, min(request.last, LARGEST - 1)  # the next one must be a number too
        recent: list[tuple[int, bytes]] = []
        running = request.epoch == self._history.epoch
        if running:
            recent = self._history.frames(request.track, first, last, FRAMES)
            newest = self._history.last(request.track)
            if newest is None and self._log is not None:  # none of it is at hand any more, or it was never there
                newest = dict(self._log.ends(request.stream, request.epoch, request.track, 1)).get(request.track)
            # Of a track that is not known here nothing is missing: it may begin later.
            last = first - 1 if newest is None else min(last, newest)
        elif self._log is None:
            raise Unanswerable(f"no epoch {request.epoch.hex()} here")
        older = self._older(request, first, recent[0][0] - 1 if recent else last)
        frames, whole = _within_limits([*older, *recent])
        reached = last + 1 if whole else frames[-1][0] + 1
        return ReplayReply(
            id=request.id,
            stream=request.stream,
            track=request.track,
            epoch=request.epoch,
            first=first,
            next=max(first, reached),
            frames=tuple(frame for _, frame in frames),
            missing=_missing(first, reached, [seq for seq, _ in frames]),
        )

    def _older(self, request: Replay, first: int, last: int) -> list[tuple[int, bytes]]:
        if self._log is None or first > last:
            return []
        frames = self._log.frames(request.stream, request.track, request.epoch, first, last)
        return [(decode(frame).seq, frame) for frame in islice(frames, FRAMES)]

    def _check_stream(self, stream: str) -> None:
        if stream != self._history.stream:
            raise Unanswerable(f"no stream {stream} here, only {self._history.stream}")

    def _folder(self, label: str) -> Path:
        if self._tokenizer is None or self._tokenizer.spec.label != label:
            raise Unanswerable(f"no tokenizer {label} here")
        return self._tokenizer.folder

    def _listed(self, label: str) -> tuple[FileInfo, ...]:
        folder = self._folder(label)
        if self._files is None:
            paths = [folder / name for name in SERVED if (folder / name).is_file()]
            self._files = tuple(
                FileInfo(name=path.name, size=path.stat().st_size, sha256=sha256(path)) for path in paths
            )
        return self._files

    def _chunk(self, request: Chunk) -> ChunkReply:
        folder = self._folder(request.tokenizer)
        if request.file not in SERVED:
            raise Unanswerable(f"no file {request.file} in {request.tokenizer}")
        with (folder / request.file).open("rb") as file:
            file.seek(request.offset)
            data = file.read(CHUNK)
        return ChunkReply(
            id=request.id, tokenizer=request.tokenizer, file=request.file, offset=request.offset, data=data
        )


def _within_limits(frames: list[tuple[int, bytes]]) -> tuple[list[tuple[int, bytes]], bool]:
    """Return as many of the first frames as go into one reply, and whether nothing can come after them."""
    size = 0
    for index, (_, frame) in enumerate(frames):
        size += len(frame)
        if index and size > CHUNK:
            return frames[:index], False
    return frames[:FRAMES], len(frames) < FRAMES


def _missing(first: int, end: int, there: list[int]) -> tuple[tuple[int, int], ...]:
    """Return the ranges of `first` to `end` - 1 that are not `there`, which is in order."""
    places = pairwise([first - 1, *there, end])
    return tuple((before + 1, after - 1) for before, after in places if after - before > 1)
