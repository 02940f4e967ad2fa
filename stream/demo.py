"""`python -m stream.demo`: the built-in motion through a producer and a decoding reader, compared with what went in."""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once()

import sys
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from engine.command.cli import is_writable, run
from engine.session import open_decoder
from engine.spec import TokenizerSpec
from stream.client import Heard, TokenStream
from stream.codec.decode import Motion, StreamDecoder
from stream.command.child import ProducerProcess
from stream.errors import KinetokenError, OutputError, SilenceError
from stream.motion.drawing import Image, label, overlay, token_grid
from stream.motion.projection import look
from stream.motion.skeleton import Array
from stream.sources.demo import CAMERA, demo_pose
from stream.wire.packets import Packet

STREAM = "demo"
TOKENIZER = "heatmap2d-f8"
PEOPLE = 2
MOMENTS = 6
TILE = 180
SILENCE = 30.0
"""Seconds to wait for the producer: its first start on a machine may take a while."""


@dataclass(frozen=True)
class Config:
    """Show motion tokens flowing: the built-in motion in, decoded bodies out, compared with what went in."""

    EXITS: ClassVar = (5, 8, 10, 13)

    seconds: float = 15.0
    """How long to run."""
    picture: str = "demo.png"
    """Where to write the picture: moments of input, decoded bodies over it and tokens."""

    def __post_init__(self) -> None:
        """Raise ValueError for a run too short for a picture."""
        if self.seconds < 2:
            raise ValueError(f"--seconds {self.seconds:g}: at least 2")
        file = Path(self.picture)
        if not cv2.haveImageWriter(self.picture):
            raise ValueError(f"--picture {file}: name a picture, such as demo.png")
        if not is_writable(file):
            raise ValueError(f"--picture {file}: cannot be written: name a file in a folder that you may write to")


@dataclass
class Results:
    """What was heard. Errors: cm at the person's distance, one value per frame and joint."""

    latencies: list[float] = field(default_factory=list)
    errors_px: list[Array] = field(default_factory=list)
    errors_cm: list[Array] = field(default_factory=list)
    ids: set[int] = field(default_factory=set)
    kept: dict[int, list[tuple[Packet, Motion]]] = field(default_factory=lambda: defaultdict(list))


def main(config: Config, stop: threading.Event) -> None:
    """Run producer and reader, print, draw, judge."""
    flags = [
        "--demo",
        "--tokenizer",
        TOKENIZER,
        "--stream",
        STREAM,
        "--max-persons",
        str(PEOPLE),
        "--duration",
        str(config.seconds),
    ]
    results = Results()
    decoder = open_decoder(TOKENIZER)  # first: it takes a moment, which is no latency of the stream's
    with ProducerProcess(flags) as producer, TokenStream(producer.address, STREAM) as stream:
        _listen(stream, StreamDecoder(lambda name: decoder), producer, results, stop)
        if stop.is_set():
            return
        code = producer.finish(timeout=10)
        if code or not results.latencies:
            raise KinetokenError(f"the producer ended with exit code {code} and {len(results.latencies)} packets")
        picture = Path(config.picture)
        _draw(results, decoder.spec.vocabulary, picture)
        _summarise(results, stream, decoder.spec, picture)


def _listen(
    stream: TokenStream,
    decoder: StreamDecoder,
    producer: ProducerProcess,
    results: Results,
    stop: threading.Event,
) -> None:
    silent = 0.0
    while not stream.ended and not stop.is_set():
        heard = stream.poll(0.5)
        if heard is None:
            silent += 0.5
            if producer.process.poll() is not None:
                return
            if silent > SILENCE:
                raise SilenceError(f"nothing heard of the demo producer for {SILENCE:g} s")
        elif isinstance(heard.message, Packet):
            silent = 0.0
            _note(heard, heard.message, decoder.decode(heard.message), results)


def _note(heard: Heard, packet: Packet, motion: Motion, results: Results) -> None:
    seen = [i for i in range(packet.hop) if packet.observed >> i & 1]
    errors = []
    for i in seen:
        truth, cm_per_px = _truth(packet.track, (packet.frame + i) / packet.fps)
        errors.append(np.linalg.norm(motion.joints[i] - truth, axis=-1))
        results.errors_cm.append(errors[-1] * cm_per_px)
    results.errors_px += errors
    results.latencies.append(heard.latency_ms or 0.0)
    results.ids.update(packet.ids().ravel().tolist())
    results.kept[packet.track].append((packet, motion))
    if packet.seq % 4 == 0:  # about once a second a person: more would only scroll by
        first = " ".join(f"{token:3d}" for token in packet.ids().ravel()[:6])
        print(
            f"{packet.stream}/{packet.track}  seq {packet.seq:3d}  ids {first} ...  {results.latencies[-1]:5.1f} ms  "
            f"joint error {np.mean(errors):4.1f} px"
        )


def _truth(track: int, time: float) -> tuple[Array, Array]:
    """Return a person's joints in the demo's image [17, 2] and the centimetres that a pixel is at each [17]."""
    pose = demo_pose(track, time)
    joints, _ = look(CAMERA, pose.joints[None], pose.confidence[None])
    depth = pose.joints @ CAMERA.R[2] + CAMERA.t[2]
    return joints[0], (depth / CAMERA.K[0, 0]).astype(np.float32)


def _draw(results: Results, vocabulary: int, file: Path) -> None:
    """Draw moments of every person: the body that went in, the decoded one over it, its error, and the hop's tokens."""
    rows: list[Image] = []
    for track in sorted(results.kept):
        kept = [each for each in results.kept[track] if each[0].observed >> (each[0].hop - 1) & 1]
        moments = [kept[i] for i in np.linspace(1, len(kept) - 1, MOMENTS).astype(int)]
        rows.append(label(MOMENTS * TILE, f"person {track}: what went in (pale), decoded from the tokens (in colour)"))
        rows.append(np.hstack([_body(packet, motion) for packet, motion in moments]))
        rows.append(label(MOMENTS * TILE, f"person {track}: the tokens of that hop"))
        rows.append(np.hstack([token_grid(packet.ids()[0, 0], vocabulary, TILE) for packet, _ in moments]))
    if not cv2.imwrite(str(file), np.vstack(rows)):
        raise OutputError(f"cannot write {file}: make space or give another place with --picture")


def _body(packet: Packet, motion: Motion) -> Image:
    """Draw the last frame of a hop, its time above and its error below."""
    time = (packet.frame + packet.hop - 1) / packet.fps
    truth, cm_per_px = _truth(packet.track, time)
    error = np.mean(np.linalg.norm(motion.joints[-1] - truth, axis=-1) * cm_per_px)
    centre, side = np.asarray(packet.box[:-1], np.float32), packet.box[-1]
    body = overlay(truth, motion.joints[-1], motion.confidence[-1], centre, side, TILE)
    return np.vstack([label(TILE, f"{time:.2f} s"), body, label(TILE, f"{error:.1f} cm")])


def _summarise(results: Results, stream: TokenStream, spec: TokenizerSpec, picture: Path) -> None:
    packet = results.kept[min(results.kept)][0][0]
    table = Table(title="kinetoken demo", show_header=False, title_justify="left")
    for name, value in (
        ("packets", str(stream.total)),
        ("people", str(len(results.kept))),
        ("tokenizer", f"{packet.tokenizer}, {packet.ids().size} tokens per {packet.hop} frames"),
        ("rate", f"{spec.bits_per_second:.0f} bit/s a person"),
        ("latency", "p50 {:.1f} ms, p99 {:.1f} ms".format(*np.percentile(results.latencies, [50, 99]))),
        ("joint error", f"{np.mean(results.errors_px):.1f} px = {np.mean(results.errors_cm):.1f} cm (mean)"),
        ("different ids", str(len(results.ids))),
        ("picture", str(picture)),
    ):
        table.add_row(name, value)
    Console().print(table)
    print("See it live, on a page in the browser: python -m stream.producer --demo --view")


EXAMPLES = """
  python -m stream.demo
  python -m stream.demo --seconds 60 --picture minute.png
"""

if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m stream.demo", examples=EXAMPLES))
