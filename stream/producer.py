"""`python -m stream.producer`: a camera, a video, a recording or the demo in, packets of motion tokens out."""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once()

import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

from engine.command.cli import run
from engine.command.extras import need_package
from engine.command.lifecycle import starting
from engine.command.messages import LogFormat
from engine.session import Backend, Encoder, Precision, open_encoder
from engine.spec import TokenizerFiles, TokenizerSpec, load_tokenizer
from stream.codec.rate import Rate
from stream.command.companion import Companion
from stream.command.gauges import show_control, show_run, show_writer
from stream.command.heap import share_heap
from stream.command.metrics import Monitor, split_address
from stream.command.report import Report
from stream.command.run import Pace, Run
from stream.command.service import Service
from stream.command.source import SourceFlags, open_source
from stream.errors import TokenizerError
from stream.jetstream.address import parse_address
from stream.log.background import LogWriter
from stream.log.reader import LogReader
from stream.publish.beside import BesidePublisher
from stream.publish.control import FAREWELL, ControlServer
from stream.publish.history import SECONDS
from stream.publish.outlet import LINGER, QUEUED
from stream.publish.publisher import STATUS_INTERVAL, Publisher
from stream.sources.base import PoseSource
from stream.wire.packets import check_stream_name
from stream.wire.security import Security

BRIDGED_S = 4.0
"""Seconds that brokers have at the end to take what they have not."""

LATENCY = "the capture of a hop's last frame to the publication of its tokens"


@dataclass(frozen=True, kw_only=True)
class Config(SourceFlags):
    """Turn the motion of people into packets of tokens and publish them over ZeroMQ.

    Give one source: --camera, --video, --panoptic, --joints or --demo.
    """

    EXITS: ClassVar = (3, 4, 5, 6, 7, 9, 10, 11, 13)
    GROUPS: ClassVar = {
        "most used": ("camera", "video", "demo", "tokenizer", "bind"),
        "source": (
            "calibration", "panoptic", "panoptic_camera", "joints", "live", "loop", "rate", "fps", "max_persons",
            "pose", "pose_size", "pose_model", "focal", "smooth", "duration",
        ),
        "tokenizer": ("dims", "backend", "precision", "levels", "quality", "steerable", "keyframe"),
        "network": ("control", "history", "keys", "insecure", "stream", "wait", "nats"),
        "keeping and watching": ("view", "with_joints", "with_picture", "log", "metrics", "log_format"),
    }  # fmt: skip

    tokenizer: str | None = None
    """Name of a shipped tokenizer or a tokenizer directory; by default heatmap2d-f8 or heatmap3d-f8, as --dims says."""
    backend: Backend = "auto"
    """Engine that runs the tokenizer; auto takes a TensorRT engine built for the GPU here, else times the others and
    takes the fastest."""
    precision: Precision = "fp32"
    """What the engine computes in; python -m engine.verify says what each costs in exactness."""
    levels: int | None = None
    """Ids that a hop takes at most, of a predictive tokenizer (predictive2d-f8 and the like); by default all it has."""
    quality: float | None = None
    """Take no more of them than bring the mean joint error down to this: px, or cm in 3D. Whoever stands still costs
    a tenth then."""
    steerable: bool = False
    """Let readers change --levels and --quality while it runs (python -m stream.steer)."""
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
    wait: float = 0.0
    """Wait up to so many seconds for a first subscriber before starting, so that it misses nothing."""
    nats: str | None = None
    """Keep the packets at these brokers too (python -m stream.bridge --nats), from a process of its own beside the
    stream: nats://HOST[:PORT][,HOST...][?replicas=3&hours=24&creds=FILE]."""
    keyframe: float = 0.0
    """Reset every person's state at least each so many seconds, for readers that join late; 0 for never."""
    view: bool = False
    """Serve the live page (python -m stream.view) beside the stream, in a process of its own; its address is said."""
    with_joints: bool = False
    """Send the joints that go into the tokenizer too, to readers that ask for them, such as the live page."""
    with_picture: bool = False
    """Send small pictures of the camera or video too, to readers that ask for them. Anyone who may read the stream then
    sees the people."""
    log: str | None = None
    """Keep the packets in this SQLite file too, new or begun before. A full or slow disk never stops the stream: the
    log is marked incomplete then and the exit code is 9."""
    metrics: str | None = None
    """Serve Prometheus /metrics and /health here: HOST:PORT, or a port of this machine's loopback."""
    log_format: LogFormat = "text"
    """How messages on standard error look: text, or json for one object a line."""

    def __post_init__(self) -> None:
        """Raise ValueError for flags that are out of range or do not go together."""
        self.check_source()
        if self.stream is not None:
            check_stream_name(self.stream)
        if min(self.wait, self.keyframe, self.history) < 0:
            raise ValueError("--wait, --keyframe and --history are seconds, 0 or more")
        _ = self.tokens_rate
        if self.metrics is not None:
            split_address(self.metrics)
        if self.nats is not None:
            parse_address(self.nats, "writer")
        if self.with_picture and (self.calibration or not (self.camera or self.video)):
            raise ValueError("--with-picture goes with one --camera or --video: nothing else has a picture")
        if (self.with_joints or self.with_picture) and self.rate == "max":
            raise ValueError("--with-joints and --with-picture are for watching: leave out --rate max")
        _ = self.security

    @property
    def tokens_rate(self) -> Rate:
        """How many levels hops take. Raises ValueError for numbers out of range."""
        return Rate(self.levels, self.quality)

    @property
    def security(self) -> Security:
        """Who may read. Raises ValueError for flags that do not go together."""
        return Security(self.keys, insecure=self.insecure)


EXAMPLES = """
  python -m stream.producer --camera 0
  python -m stream.producer --video dance.mp4 --loop --stream dance
  python -m stream.producer --video rtsp://user:password@camera/stream --bind tcp://127.0.0.1:6000
  python -m stream.producer --video cam01.mp4 --video cam02.mp4 --calibration Calib.qca.txt
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
            _check_rate(config, tokenizer.spec)
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
        if config.nats is not None:
            _bridge(config.nats, config, publisher, monitor, resources)
        resources.callback(publisher.close, QUEUED if config.bounded else LINGER, stop)
        started = _start_lines(config, encoder, source, publisher)
        for line in started:
            report.say(line)
        if monitor:
            show_control(monitor, control.counters)
            report.say(f"metrics and health at http://{monitor.address}/metrics and /health")
        if config.view:
            resources.enter_context(_beside("stream.view.__main__", "no live page", config, publisher))
        service = Service()
        service.ready(started[0])
        resources.callback(service.stopping)
        if config.wait and not _wait(publisher, config.wait, stop, service) and not stop.is_set():
            report.say(f"no subscriber within {config.wait:g} s: starting without one", "no subscriber")
        pace = Pace(
            fps=config.fps,
            keyframe=config.keyframe,
            duration=config.duration,
            max_persons=config.max_persons,
            rate=config.tokens_rate,
        )
        beside = None
        if config.with_joints or config.with_picture:
            beside = BesidePublisher(publisher, source.unit, config.with_joints, config.with_picture)
        run = Run(pace, encoder, source, publisher, report, monitor, beside)
        if config.steerable:
            control.let_steer(run.set_rate)
        if monitor:
            show_run(monitor, run)
        run.go(stop, service, control)


def _beside(
    module: str, without: str, config: Config, publisher: Publisher, *more: object, **flags: object
) -> Companion:
    return Companion(
        module, without, publisher.address, publisher.stream, config.security, config.log_format, *more, **flags
    )


def _bridge(nats: str, config: Config, publisher: Publisher, monitor: Monitor | None, resources: ExitStack) -> None:
    """Keep the packets at brokers: all of this run, also those from before the bridge stands."""
    need_package("nats")
    all_of_it = {(publisher.stream, 0, publisher.epoch): -1}
    bridge = resources.enter_context(
        _beside("stream.bridge", "not all is at the brokers", config, publisher, all_of_it, nats=nats, once=True)
    )
    resources.callback(bridge.finish, BRIDGED_S)
    if monitor:
        monitor.check("nats", lambda: None if bridge.alive else "the bridge to the brokers has ended: see its message")


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


def _find_tokenizer(config: Config) -> TokenizerFiles:
    placed = "--calibration" if config.calibration is not None else "--focal" if config.focal is not None else None
    dims = "3d" if placed else config.dims
    name = config.tokenizer or f"heatmap{dims or '2d'}-f8"
    tokenizer = load_tokenizer(name)
    if placed and tokenizer.spec.dims == 2:
        raise TokenizerError(f"{placed} gives 3D poses, and tokenizer {name} takes 2D ones: use heatmap3d-f8")
    if config.dims and config.dims != f"{tokenizer.spec.dims}d":
        raise TokenizerError(f"tokenizer {name} is {tokenizer.spec.dims}d: leave out --dims {config.dims}")
    return tokenizer


def _check_rate(config: Config, spec: TokenizerSpec) -> None:
    """Raise TokenizerError where the tokenizer has no levels that can be left out."""
    try:
        config.tokens_rate.fit(spec)
        if config.steerable and not spec.predictive:
            raise ValueError(f"{spec.name} always uses all of its levels: a rate is for predictive tokenizers")
    except ValueError as error:
        other = "" if spec.predictive else f", such as --tokenizer predictive{spec.dims}d-f8"
        raise TokenizerError(f"{error}{other}") from None


def _start_lines(config: Config, encoder: Encoder, source: PoseSource, publisher: Publisher) -> tuple[str, str]:
    drop = "live: the newest frame wins" if source.live else "every frame is read"
    levels = 1 if config.levels is None else config.levels / encoder.spec.token_grid[0]
    bits = levels * encoder.spec.bits_per_second * config.fps / encoder.spec.fps
    most = "at most " if encoder.spec.predictive else ""
    return (
        f"{source.label} ({drop}) -> stream {publisher.stream} at {publisher.address}, "
        f"{config.security.told(publisher.address)}, unit {source.unit}",
        f"tokenizer {encoder.spec.label}, {most}{bits:.0f} bit/s a person; backend {encoder.backend} ({encoder.why})",
    )


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m stream.producer", examples=EXAMPLES))
