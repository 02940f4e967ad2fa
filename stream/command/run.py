"""One run of a producer: frames of poses in, packets of tokens out, from the first frame to the goodbye."""

import dataclasses
import math
import threading
import time
from dataclasses import dataclass

from engine.session import Encoder
from stream.codec.encode import Hop, Pipeline
from stream.codec.rate import FULL, Rate
from stream.command.metrics import Monitor
from stream.command.report import Report
from stream.command.service import Service
from stream.motion.clock import SURPLUS
from stream.publish.beside import BesidePublisher
from stream.publish.control import ControlServer
from stream.publish.publisher import Publisher
from stream.sources.base import PoseFrame, PoseSource
from stream.sources.threaded import Threaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """fps: of the fixed clock. keyframe: seconds after which everybody's state is reset; duration: of the source, after
    which the run ends; 0 for never. max_persons: most people who are encoded; None for all. rate: levels of a hop."""

    fps: float
    keyframe: float
    duration: float
    max_persons: int | None
    rate: Rate = FULL


class Run:
    """One run from the first frame to the goodbye."""

    def __init__(
        self,
        pace: Pace,
        encoder: Encoder,
        source: PoseSource,
        publisher: Publisher,
        report: Report,
        monitor: Monitor | None,
        beside: BesidePublisher | None,
    ) -> None:
        self._pace, self._source, self._publisher, self.report = pace, source, publisher, report
        self._monitor, self._beside = monitor, beside
        self._spec = encoder.spec
        hops_per_second = pace.fps / encoder.spec.hop
        self._feed = Threaded(source)
        self._pipeline = Pipeline(encoder, pace.fps, math.ceil(pace.keyframe * hops_per_second), pace.rate)
        self._frames = self._packets = self._ids = 0
        self._told_slow = False

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
    def ids(self) -> int:
        """Ids published so far."""
        return self._ids

    def set_rate(self, rate: Rate) -> None:
        """Take so many levels from the next hop on, in any thread. Raises ValueError where the tokenizer cannot."""
        self._pipeline.rate = rate
        self.report.say(f"a reader asks for {rate}", "rate")

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
        limit = self._pace.duration or math.inf
        for frame in self._feed:
            if frame is not None:
                first = frame.time if first is None else first
                if frame.time - first >= limit:
                    return "duration over"
                self._frames += 1
                frame = self._limited(frame)
                if self._beside:
                    self._beside.show(frame)
                self._publish(self._pipeline.push(frame))
                self.report.frame(self._pipeline.people, self.counters)
                self._say_if_too_slow()
            elif time.monotonic() - begin >= limit:
                return "duration over"
            self._publisher.status(self._pipeline.people, self.counters)
            control.check()
            service.beat()
        return "stopped" if stop.is_set() else "source ended"

    def _say_if_too_slow(self) -> None:
        if not self._told_slow and (rate := self._pipeline.too_slow) is not None:
            self._told_slow = True
            self.report.say(
                f"{self._source.label} gives {rate:.1f} frames a second, too few to tell a motion: each is a new "
                "beginning; 2 are needed, 10 or more are better",
                "source too slow",
            )

    def _limited(self, frame: PoseFrame) -> PoseFrame:
        """Leave out the people of a recording beyond --max-persons, highest ids first."""
        most = self._pace.max_persons
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
                fps=self._pace.fps,
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
            self._ids += hop.ids.size
        self._packets += len(hops)
