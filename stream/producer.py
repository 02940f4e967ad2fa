"""`python -m stream.producer`: a camera, a video, a recording or the demo in, packets of motion tokens out."""

import dataclasses
import math
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass

from engine.session import Backend, Encoder, open_encoder
from engine.spec import load_tokenizer
from stream.cli import run
from stream.errors import TokenizerError
from stream.feed import Feed
from stream.motion.camera import Dims
from stream.motion.clock import SLOWEST
from stream.pipeline import Hop, Pipeline
from stream.publisher import LINGER, STATUS_INTERVAL, Publisher
from stream.report import Report
from stream.sources.base import PoseFrame, PoseSource, Rate
from stream.sources.capture import is_address
from stream.sources.demo import DemoSource
from stream.sources.panoptic import PanopticSource
from stream.wire import check_stream_name

FEW = 2
"""People followed, or shown by the demo, unless asked otherwise."""

QUEUED = 600.0
"""Seconds that a replay at full speed gives its readers at the end to take what they have not yet read; Ctrl-C ends
the wait."""


@dataclass(frozen=True)
class Config:
    """Turn the motion of people into packets of tokens and publish them over ZeroMQ.

    Give one source: --camera, --video, --panoptic or --demo.
    """

    camera: int | None = None
    """Number of a camera of this machine, from 0."""
    video: str | None = None
    """Video file, or address of a live stream: rtsp://..., http://... (MJPEG)."""
    panoptic: str | None = None
    """CMU Panoptic sequence: its folder, its folder of poses or its tar."""
    panoptic_camera: str | None = None
    """HD camera of the recording through which 2D tokenizers see it, such as 00_03 (the default)."""
    demo: bool = False
    """Built-in motion: people who walk and wave."""
    loop: bool = False
    """Start a file or recording again at its end; every round begins with reset states."""
    tokenizer: str | None = None
    """Name of a shipped tokenizer or a tokenizer directory; by default heatmap2d-f8 or heatmap3d-f8, as --dims says."""
    dims: Dims | None = None
    """2d: image coordinates, px; 3d: cm. By default those of the tokenizer, else 2d."""
    backend: Backend = "auto"
    """Engine that runs the tokenizer; auto times those that are installed and takes the fastest."""
    bind: str = "tcp://127.0.0.1:5555"
    """Address to publish on, tcp://HOST:PORT or ipc://PATH; port * takes a free one."""
    stream: str | None = None
    """Name of the stream in topics and packets; by default the kind of the source."""
    rate: Rate = "realtime"
    """Speed of files, recordings and the demo: realtime, or max for as fast as possible."""
    fps: float = 30.0
    """Frames per second of the fixed clock; the shipped tokenizers were trained at 30."""
    max_persons: int | None = None
    """Most people to follow at once: by default 2, for a recording everybody; for the demo, how many there are."""
    pose_model: str | None = None
    """MediaPipe pose landmarker (.task); by default KINETOKEN_POSE_MODEL, the cache, or a download on first use."""
    duration: float = 0.0
    """Stop after so many seconds of the source; 0 for no limit."""
    wait: float = 0.0
    """Wait up to so many seconds for a first subscriber before starting, so that it misses nothing."""
    keyframe: float = 0.0
    """Reset every person's state at least each so many seconds, for readers that join late; 0 for never."""

    def __post_init__(self) -> None:
        """Raise ValueError for flags that are out of range or do not go together."""
        sources = [name for name in ("camera", "video", "panoptic") if getattr(self, name) is not None]
        sources += ["demo"] * self.demo
        if len(sources) != 1:
            given = " and ".join(f"--{name}" for name in sources) or "none"
            raise ValueError(f"give one source, --camera, --video, --panoptic or --demo; given: {given}")
        if self.stream is not None:
            check_stream_name(self.stream)
        if self.camera is not None and self.camera < 0:
            raise ValueError(f"--camera {self.camera}: cameras count from 0")
        if self.panoptic_camera and (self.panoptic is None or self.dims == "3d"):
            raise ValueError("--panoptic-camera goes with --panoptic in 2d")
        if self.loop and (self.live_images or self.demo):
            raise ValueError("--loop goes with a --video file or --panoptic")
        if self.rate == "max" and self.live_images:
            raise ValueError("--rate max is for files and recordings; a camera or live address sets its own pace")
        if not SLOWEST <= self.fps <= 240:
            raise ValueError(f"--fps {self.fps:g}: from {SLOWEST:g} to 240")
        if self.max_persons is not None and self.max_persons < 1:
            raise ValueError(f"--max-persons {self.max_persons}: at least 1")
        if min(self.duration, self.wait, self.keyframe) < 0:
            raise ValueError("--duration, --wait and --keyframe are seconds, 0 or more")

    @property
    def live_images(self) -> bool:
        """Whether images come at a pace of their own."""
        return self.camera is not None or is_address(self.video or "")

    @property
    def bounded(self) -> bool:
        """Whether all packets of the run may wait in memory for slow readers: a recording at full speed, once."""
        return self.rate == "max" and not self.loop and (not self.demo or self.duration > 0)

    @property
    def kind(self) -> str:
        """The source's kind, which names the stream unless --stream does."""
        return next(
            name for name in ("camera", "video", "panoptic", "demo") if getattr(self, name) not in (None, False)
        )


EXAMPLES = """
  python -m stream.producer --camera 0
  python -m stream.producer --video dance.mp4 --loop --stream dance
  python -m stream.producer --video rtsp://user:password@camera/stream --bind tcp://127.0.0.1:6000
  python -m stream.producer --panoptic 160906_band1 --panoptic-camera 00_03 --rate max --wait 30
  python -m stream.producer --demo --dims 3d --duration 60
"""


def main(config: Config, stop: threading.Event) -> None:
    """Produce until the source ends, the duration is over or `stop` is set."""
    encoder = _open_encoder(config)
    source = open_source(config, encoder, stop)
    with ExitStack() as resources:
        resources.callback(source.close)
        publisher = Publisher(config.bind, config.stream or config.kind, live=not config.bounded)
        resources.callback(publisher.close, QUEUED if config.bounded else LINGER, stop)
        report = Report()
        report.say(_start_line(config, encoder, source, publisher))
        if config.wait and not _wait(publisher, config.wait, stop) and not stop.is_set():
            report.say(f"no subscriber within {config.wait:g} s: starting without one")
        _Run(config, encoder, source, publisher, report).go(stop)


def _wait(publisher: Publisher, seconds: float, stop: threading.Event) -> bool:
    """Wait for a first subscriber, with signs of life for those who hear only them."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0 and not stop.is_set():
        publisher.status(0, {})
        if publisher.wait_for_subscriber(min(left, STATUS_INTERVAL), stop):
            return True
    return False


def open_source(config: Config, encoder: Encoder, stop: threading.Event) -> PoseSource:
    """Open the source that the configuration names. Raises SourceError, PoseModelError."""
    dims: Dims = "3d" if encoder.spec.dims == 3 else "2d"
    if config.demo:
        return DemoSource(dims, config.rate, stop, config.fps, config.max_persons or FEW)
    if config.panoptic is not None:
        return PanopticSource(config.panoptic, dims, config.rate, stop, config.loop, config.panoptic_camera)
    # MediaPipe takes a second to import: only where there are images.
    from stream.sources.vision import open_vision

    ref = config.camera if config.camera is not None else config.video
    assert ref is not None  # one source is given: Config checks it
    return open_vision(
        ref,
        dims,
        rate=config.rate,
        stop=stop,
        loop=config.loop,
        max_persons=config.max_persons or FEW,
        pose_model=config.pose_model,
    )


class _Run:
    """One run from the first frame to the goodbye."""

    def __init__(
        self, config: Config, encoder: Encoder, source: PoseSource, publisher: Publisher, report: Report
    ) -> None:
        self._config, self._source, self._publisher, self._report = config, source, publisher, report
        self._spec = encoder.spec
        hops_per_second = config.fps / encoder.spec.hop
        self._feed = Feed(source)
        self._pipeline = Pipeline(encoder, config.fps, keyframe=math.ceil(config.keyframe * hops_per_second))
        self._frames = self._packets = 0

    def go(self, stop: threading.Event) -> None:
        """Encode and publish; whatever ends it, the hops in hand go out and the readers hear a goodbye."""
        reason = "failed"
        try:
            reason = self._consume(stop)
        finally:
            self._publish(self._pipeline.flush())
            self._publisher.goodbye(reason)
            self._report.frame(0, self._counters())
            self._report.end(reason)
            self._source.close()
            self._feed.close()

    def _consume(self, stop: threading.Event) -> str:
        begin = time.monotonic()
        first: float | None = None
        limit = self._config.duration or math.inf
        for frame in self._feed:
            if frame is not None:
                first = frame.time if first is None else first
                if frame.time - first >= limit:
                    return "duration over"
                self._frames += 1
                self._publish(self._pipeline.push(self._limited(frame)))
                self._report.frame(self._pipeline.people, self._counters())
            elif time.monotonic() - begin >= limit:
                return "duration over"
            self._publisher.status(self._pipeline.people, self._counters())
        return "stopped" if stop.is_set() else "source ended"

    def _limited(self, frame: PoseFrame) -> PoseFrame:
        """Leave out the people of a recording beyond --max-persons, highest ids first."""
        most = self._config.max_persons
        if most is None or len(frame.people) <= most:
            return frame
        return dataclasses.replace(frame, people={track: frame.people[track] for track in sorted(frame.people)[:most]})

    def _publish(self, hops: list[Hop]) -> None:
        for hop in hops:
            self._publisher.publish(
                track=hop.track,
                frame=hop.frame,
                t=hop.captured_ns,
                wall=time.time_ns() - (time.monotonic_ns() - hop.captured_ns),
                fps=self._config.fps,
                hop=self._spec.hop,
                tokenizer=self._spec.label,
                ids=hop.ids,
                box=hop.box,
                unit=self._source.unit,
                observed=hop.observed,
                reset=hop.reset,
            )
        self._packets += len(hops)

    def _counters(self) -> dict[str, int]:
        counters = {"frames": self._frames, "packets": self._packets, **self._source.counts}
        if self._pipeline.surplus:
            counters["frames beyond the clock's rate"] = self._pipeline.surplus
        return counters


def _open_encoder(config: Config) -> Encoder:
    name = config.tokenizer or f"heatmap{config.dims or '2d'}-f8"
    tokenizer = load_tokenizer(name)
    if config.dims and config.dims != f"{tokenizer.spec.dims}d":
        raise TokenizerError(f"tokenizer {name} is {tokenizer.spec.dims}d: leave out --dims {config.dims}")
    encoder = open_encoder(tokenizer, config.backend)
    encoder.warm((1, 2, 4))
    return encoder


def _start_line(config: Config, encoder: Encoder, source: PoseSource, publisher: Publisher) -> str:
    drop = "newest frame wins" if config.live_images else "every frame is read"
    bits = encoder.spec.bits_per_second * config.fps / encoder.spec.fps
    return (
        f"{source.label} ({drop}) -> stream {publisher.stream} at {publisher.address}, unit {source.unit}\n"
        f"tokenizer {encoder.spec.label}, {bits:.0f} bit/s a person; "
        f"backend {encoder.backend} ({encoder.why})"
    )


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m stream.producer", examples=EXAMPLES))
