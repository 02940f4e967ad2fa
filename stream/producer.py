"""`python -m stream.producer`: a camera, a video, a recording or the demo in, packets of motion tokens out."""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once()

import dataclasses
import math
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

from engine.command.cli import run
from engine.command.lifecycle import starting
from engine.command.messages import LogFormat
from engine.session import Backend, Encoder, Precision, open_encoder
from engine.spec import TokenizerFiles, load_tokenizer
from stream.codec.encode import Hop, Pipeline
from stream.command.gauges import show_control, show_run, show_writer
from stream.command.heap import share_heap
from stream.command.metrics import Monitor, split_address
from stream.command.report import Report
from stream.command.service import Service
from stream.errors import TokenizerError
from stream.log.background import LogWriter
from stream.log.reader import LogReader
from stream.motion.clock import SLOWEST, SURPLUS
from stream.motion.projection import Dims
from stream.pose.choice import PoseChoice, check_pose_size
from stream.publish.control import FAREWELL, ControlServer
from stream.publish.history import SECONDS
from stream.publish.outlet import LINGER, QUEUED
from stream.publish.publisher import STATUS_INTERVAL, Publisher
from stream.sources.address import is_address
from stream.sources.base import PoseFrame, PoseSource, Rate
from stream.sources.camera import check_camera
from stream.sources.demo import DemoSource
from stream.sources.joints import JointsSource
from stream.sources.panoptic import PanopticSource
from stream.sources.threaded import Threaded
from stream.wire.packets import check_stream_name
from stream.wire.security import Security

FEW = 2
"""People shown by the demo unless asked otherwise."""

LATENCY = "the capture of a hop's last frame to the publication of its tokens"


@dataclass(frozen=True)
class Config:
    """Turn the motion of people into packets of tokens and publish them over ZeroMQ.

    Give one source: --camera, --video, --panoptic, --joints or --demo.
    """

    EXITS: ClassVar = (3, 4, 5, 6, 7, 9, 10, 11, 13)
    GROUPS: ClassVar = {
        "most used": ("camera", "video", "demo", "tokenizer", "bind"),
        "source": (
            "panoptic", "panoptic_camera", "joints", "live", "loop", "rate", "fps", "max_persons", "pose", "pose_size",
            "pose_model", "duration",
        ),
        "tokenizer": ("dims", "backend", "precision", "keyframe"),
        "network": ("control", "history", "keys", "insecure", "stream", "wait"),
        "keeping and watching": ("log", "metrics", "log_format"),
    }  # fmt: skip

    camera: int | None = None
    """Number of a camera of this machine, from 0."""
    video: str | None = None
    """Video file, or address of a film or of a live stream: rtsp://..., http://... (MJPEG, HLS)."""
    live: bool | None = None
    """Take the address of --video for a live stream, whose newest frame wins, or with --no-live for a film, of which
    every frame is read once. By default a film is what tells how long it lasts."""
    panoptic: str | None = None
    """CMU Panoptic sequence: its folder, its folder of poses or an archive (tar, tar.gz, tar.bz2, tar.xz, zip)."""
    panoptic_camera: str | None = None
    """HD camera of the recording through which 2D tokenizers see it, such as 00_03 (the default)."""
    joints: str | None = None
    """Recording of joints in the form that training reads: FILE.npz, or FILE.npz:CLIP for one clip by number or name.
    2D tokenizers see it from the front."""
    demo: bool = False
    """Built-in motion: people who walk and wave."""
    loop: bool = False
    """Start a file or recording again at its end; every round begins with reset states."""
    tokenizer: str | None = None
    """Name of a shipped tokenizer or a tokenizer directory; by default heatmap2d-f8 or heatmap3d-f8, as --dims says."""
    dims: Dims | None = None
    """2d: image coordinates, px; 3d: cm. By default those of the tokenizer, else 2d."""
    backend: Backend = "auto"
    """Engine that runs the tokenizer; auto takes a TensorRT engine built for the GPU here, else times the others and
    takes the fastest."""
    precision: Precision = "fp32"
    """What the engine computes in; python -m engine.verify says what each costs in exactness."""
    bind: str = "tcp://127.0.0.1:5555"
    """Address to publish on, tcp://HOST:PORT or ipc://PATH; port * takes a free one."""
    control: str | None = None
    """Address at which readers ask for what they missed; by default the port after that of --bind, or, if it is taken,
    a free one."""
    history: float = SECONDS
    """Seconds for which packets stay in memory for them; older ones come from --log."""
    keys: str | None = None
    """Folder of keys (python -m stream.keys): only listed readers get in. Where other machines can reach --bind, keys
    are needed; by default those of KINETOKEN_KEYS, else of kinetoken's folder of settings."""
    insecure: bool = False
    """Go without keys: anybody who can reach the address may read, and listen in."""
    stream: str | None = None
    """Name of the stream in topics and packets; by default the kind of the source."""
    rate: Rate = "realtime"
    """Speed of files, recordings and the demo: realtime, or max for as fast as possible."""
    fps: float = 30.0
    """Frames per second of the fixed clock; the shipped tokenizers were trained at 30."""
    max_persons: int | None = None
    """Most people to follow at once: by default 6 with movenet, 2 with mediapipe, for a recording everybody; for the
    demo, how many there are (2)."""
    pose: PoseChoice = "auto"
    """What finds people in images: movenet (2D, ships with kinetoken) or mediapipe (2D and 3D); auto takes movenet for
    2D tokenizers and mediapipe for 3D ones."""
    pose_size: int | None = None
    """Longer side, px, at which movenet looks at images, a multiple of 32: larger finds smaller people and takes
    longer. By default 256, or 448 while somebody is small."""
    pose_model: str | None = None
    """MediaPipe pose landmarker (.task), for --pose mediapipe; by default KINETOKEN_POSE_MODEL, the cache, or a
    download on first use."""
    duration: float = 0.0
    """Stop after so many seconds of the source; 0 for no limit."""
    wait: float = 0.0
    """Wait up to so many seconds for a first subscriber before starting, so that it misses nothing."""
    keyframe: float = 0.0
    """Reset every person's state at least each so many seconds, for readers that join late; 0 for never."""
    log: str | None = None
    """Keep the packets in this SQLite file too, new or begun before. A full or slow disk never stops the stream: the
    log is marked incomplete then and the exit code is 9."""
    metrics: str | None = None
    """Serve Prometheus /metrics and /health here: HOST:PORT, or a port of this machine's loopback."""
    log_format: LogFormat = "text"
    """How messages on standard error look: text, or json for one object a line."""

    def __post_init__(self) -> None:
        """Raise ValueError for flags that are out of range or do not go together."""
        sources = [name for name in ("camera", "video", "panoptic", "joints") if getattr(self, name) is not None]
        sources += ["demo"] * self.demo
        if len(sources) != 1:
            given = " and ".join(f"--{name}" for name in sources) or "none"
            raise ValueError(f"give one source, --camera, --video, --panoptic, --joints or --demo; given: {given}")
        if self.stream is not None:
            check_stream_name(self.stream)
        if self.camera is not None and self.camera < 0:
            raise ValueError(f"--camera {self.camera}: cameras count from 0")
        if self.panoptic_camera and (self.panoptic is None or self.dims == "3d"):
            raise ValueError("--panoptic-camera goes with --panoptic in 2d")
        if self.loop and (self.live_images or self.demo):
            raise ValueError(
                "--loop goes with a --video file (a film at an address: --no-live), --panoptic or --joints"
            )
        if self.live is not None and not is_address(self.video or ""):
            raise ValueError("--live and --no-live go with the address of a --video")
        if self.rate == "max" and self.live_images:
            raise ValueError(
                "--rate max is for files and recordings; a camera or live address sets its own pace (a film: --no-live)"
            )
        if not SLOWEST <= self.fps <= 240:
            raise ValueError(f"--fps {self.fps:g}: from {SLOWEST:g} to 240")
        if self.max_persons is not None and self.max_persons < 1:
            raise ValueError(f"--max-persons {self.max_persons}: at least 1")
        check_pose_size(self.pose_size)
        if min(self.duration, self.wait, self.keyframe, self.history) < 0:
            raise ValueError("--duration, --wait, --keyframe and --history are seconds, 0 or more")
        if self.metrics is not None:
            split_address(self.metrics)
        _ = self.security

    @property
    def security(self) -> Security:
        """Who may read. Raises ValueError for flags that do not go together."""
        return Security(self.keys, insecure=self.insecure)

    @property
    def live_images(self) -> bool:
        """Whether images may come at a pace of their own; what an address gives shows when it is opened."""
        return self.camera is not None or (is_address(self.video or "") and self.live is not False)

    @property
    def bounded(self) -> bool:
        """Whether all packets of the run may wait in memory for slow readers: a recording at full speed, once."""
        return self.rate == "max" and not self.loop and (not self.demo or self.duration > 0)

    @property
    def kind(self) -> str:
        """The source's kind, which names the stream unless --stream does."""
        recorded = (name for name in ("camera", "video", "panoptic", "joints") if getattr(self, name) is not None)
        return next(recorded, "demo")


EXAMPLES = """
  python -m stream.producer --camera 0
  python -m stream.producer --video dance.mp4 --loop --stream dance
  python -m stream.producer --video rtsp://user:password@camera/stream --bind tcp://127.0.0.1:6000
  python -m stream.producer --panoptic 160906_band1 --panoptic-camera 00_03 --rate max --wait 30
  python -m stream.producer --joints walks.npz:3 --dims 3d --loop
  python -m stream.producer --demo --dims 3d --duration 60
  python -m stream.producer --camera 0 --bind tcp://0.0.0.0:5555     for listed keys: see python -m stream.keys --help
"""


def main(config: Config, stop: threading.Event) -> None:
    """Produce until the source ends, the duration is over or `stop` is set."""
    share_heap()
    with ExitStack() as resources:
        with starting():
            # What may be wrong with the source is told before seconds go into engines.
            tokenizer = _find_tokenizer(config)
            source = open_source(config, tokenizer.spec.dims, stop)
            resources.callback(source.close)
            encoder = open_encoder(tokenizer, config.backend, config.precision)
            encoder.warm((1, 2, 4))
        monitor = resources.enter_context(Monitor(config.metrics, LATENCY)) if config.metrics is not None else None
        publisher = Publisher(
            config.bind,
            config.stream or config.kind,
            live=not config.bounded,
            history=config.history,
            security=config.security,
        )
        publisher.tokenizer = tokenizer.spec.label
        resources.callback(publisher.close)
        report = Report(config.log_format)
        if config.log is not None:
            publisher.log = _open_log(config.log, report, monitor, resources)
        control = _open_control(config, publisher, tokenizer, resources)
        # First the stream ends, then the control socket: readers hear at the goodbye what they lack.
        resources.callback(control.close, quiet=FAREWELL)
        resources.callback(publisher.close, QUEUED if config.bounded else LINGER, stop)
        started = _start_line(config, encoder, source, publisher)
        report.say(started)
        if monitor:
            show_control(monitor, control.counters)
            report.say(f"metrics and health at http://{monitor.address}/metrics and /health")
        service = Service()
        service.ready(started)
        resources.callback(service.stopping)
        if config.wait and not _wait(publisher, config.wait, stop, service) and not stop.is_set():
            report.say(f"no subscriber within {config.wait:g} s: starting without one", "no subscriber")
        run = _Run(config, encoder, source, publisher, report, monitor)
        if monitor:
            show_run(monitor, run)
        run.go(stop, service, control)


def _open_log(path: str, report: Report, monitor: Monitor | None, resources: ExitStack) -> LogWriter:
    writer = LogWriter(path)
    resources.callback(writer.close)
    if writer.log.repair:
        report.say(str(writer.log.repair), "log repaired")
    if monitor:
        show_writer(monitor, writer)
    return writer


def _open_control(
    config: Config, publisher: Publisher, tokenizer: TokenizerFiles, resources: ExitStack
) -> ControlServer:
    log = resources.enter_context(LogReader(config.log)) if config.log is not None else None
    control = ControlServer(publisher.history, config.control, publisher.address, tokenizer, log, config.security)
    publisher.control = control.told
    return control


def _wait(publisher: Publisher, seconds: float, stop: threading.Event, service: Service) -> bool:
    """Wait for a first subscriber, with signs of life for those who hear only them."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0 and not stop.is_set():
        publisher.status(0, {})
        service.beat()
        if publisher.wait_for_subscriber(min(left, STATUS_INTERVAL), stop):
            return True
    return False


def open_source(config: Config, axes: int, stop: threading.Event) -> PoseSource:
    """Open the source that is named, for a tokenizer of 2 or 3 axes. Raises SourceError, PoseModelError."""
    dims: Dims = "3d" if axes == 3 else "2d"
    if config.demo:
        return DemoSource(dims, config.rate, stop, config.fps, config.max_persons or FEW)
    if config.panoptic is not None:
        return PanopticSource(config.panoptic, dims, config.rate, stop, config.loop, config.panoptic_camera)
    if config.joints is not None:
        return JointsSource(config.joints, dims, config.rate, stop, config.loop)
    if config.camera is not None:
        check_camera(config.camera)
    from stream.pose.source import open_vision  # OpenCV takes a moment to import: only where there are images

    ref = config.camera if config.camera is not None else config.video
    assert ref is not None  # one source is given: Config checks it
    return open_vision(
        ref,
        dims,
        rate=config.rate,
        stop=stop,
        loop=config.loop,
        live=config.live,
        max_persons=config.max_persons,
        pose=config.pose,
        pose_size=config.pose_size,
        pose_model=config.pose_model,
        fps=config.fps,
    )


class _Run:
    """One run from the first frame to the goodbye."""

    def __init__(
        self,
        config: Config,
        encoder: Encoder,
        source: PoseSource,
        publisher: Publisher,
        report: Report,
        monitor: Monitor | None,
    ) -> None:
        self._config, self._source, self._publisher, self.report = config, source, publisher, report
        self._monitor = monitor
        self._spec = encoder.spec
        hops_per_second = config.fps / encoder.spec.hop
        self._feed = Threaded(source)
        self._pipeline = Pipeline(encoder, config.fps, keyframe=math.ceil(config.keyframe * hops_per_second))
        self._frames = self._packets = 0

    @property
    def counters(self) -> dict[str, int]:
        """Totals since the start: frames, packets, and what was left out by cause. May be read from any thread."""
        counts = dict(self._source.counts)
        not_looked_at = counts.pop(SURPLUS, 0)
        counters = {"frames": self._frames + not_looked_at, "packets": self._packets, **counts}
        if surplus := self._pipeline.surplus + not_looked_at:
            counters[SURPLUS] = surplus
        return counters

    @property
    def people(self) -> int:
        """How many are encoded now."""
        return self._pipeline.people

    @property
    def waiting(self) -> int:
        """Frames that wait to be encoded."""
        return self._feed.depth

    def go(self, stop: threading.Event, service: Service, control: ControlServer) -> None:
        """Encode and publish; whatever ends it, the hops in hand go out and the readers hear a goodbye."""
        reason = "failed"
        try:
            reason = self._consume(stop, service, control)
        finally:
            try:
                self._publish(self._pipeline.flush())
                self._publisher.goodbye(reason)
            finally:
                self.report.frame(0, self.counters)
                if self._frames and not self._packets and reason == "source ended":
                    self.report.say(
                        f"nobody was found in the {self._frames} frames of {self._source.label}: people must be seen "
                        "whole, upright and not too small",
                        "nobody found",
                    )
                self.report.end(reason)
                self._source.close()
                self._feed.close()

    def _consume(self, stop: threading.Event, service: Service, control: ControlServer) -> str:
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
                self.report.frame(self._pipeline.people, self.counters)
            elif time.monotonic() - begin >= limit:
                return "duration over"
            self._publisher.status(self._pipeline.people, self.counters)
            control.check()
            service.beat()
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
            if self._monitor and hop.observed >> (self._spec.hop - 1) & 1:  # else it waited for the end of a gap
                self._monitor.latency((time.monotonic_ns() - hop.captured_ns) / 1e9)
        self._packets += len(hops)


def _find_tokenizer(config: Config) -> TokenizerFiles:
    name = config.tokenizer or f"heatmap{config.dims or '2d'}-f8"
    tokenizer = load_tokenizer(name)
    if config.dims and config.dims != f"{tokenizer.spec.dims}d":
        raise TokenizerError(f"tokenizer {name} is {tokenizer.spec.dims}d: leave out --dims {config.dims}")
    return tokenizer


def _start_line(config: Config, encoder: Encoder, source: PoseSource, publisher: Publisher) -> str:
    drop = "live: the newest frame wins" if source.live else "every frame is read"
    bits = encoder.spec.bits_per_second * config.fps / encoder.spec.fps
    return (
        f"{source.label} ({drop}) -> stream {publisher.stream} at {publisher.address}, "
        f"{config.security.told(publisher.address)}, unit {source.unit}\n"
        f"tokenizer {encoder.spec.label}, {bits:.0f} bit/s a person; "
        f"backend {encoder.backend} ({encoder.why})"
    )


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m stream.producer", examples=EXAMPLES))
