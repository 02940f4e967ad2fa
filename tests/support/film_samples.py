"""Films for the tests, written with PyAV: every container and codec that it can write, with sound or without."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from image_samples import numbered

FPS = 30
RATE = 48000
SOUND = {".flv": "aac", ".webm": "libopus"}
"""Codecs of containers that do not take MP2."""


def write_film(
    path: Path,
    frames: int = 40,
    codec: str = "mpeg4",
    sound: float = 0.0,
    late: float = 0.0,
    aspect: Fraction | None = None,
    rotation: int = 0,
    stills: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a film of numbered frames at 30 fps.

    sound: seconds of a tone beside it. late: seconds after which the picture begins. aspect: of a pixel. rotation:
    degrees that a player is to turn it by. stills: pictures of a shorter stream before the film. options: of the
    container.
    """
    with av.open(str(path), "w", options=options or {}) as out:
        before = _add_video(out, codec) if stills else None
        film = _add_video(out, codec)
        if aspect is not None:
            film.codec_context.sample_aspect_ratio = aspect
        if rotation:
            film.set_display_rotation(rotation)
        tone = out.add_stream(SOUND.get(path.suffix, "mp2"), rate=RATE) if sound else None
        packets: list[Any] = _encoded(before, stills, 0) if before else []
        packets += _encoded(film, frames, round(late * FPS))
        if tone is not None:
            packets += _silence(tone, sound)
        packets.sort(key=lambda packet: packet.dts * packet.time_base)
        for packet in packets:
            out.mux(packet)
    return path


def spoil(path: Path, pictures: range) -> None:
    """Overwrite these pictures of an AVI with zeros."""
    with av.open(str(path)) as film:
        places = [(packet.pos, packet.size) for packet in film.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for number in pictures:
        place, size = places[number]
        assert place is not None
        begin = content.index(b"\xff\xd8", place)  # the packet's place is its header's, or, with some, its data's
        content[begin : begin + size] = bytes(size)
    path.write_bytes(content)


def _add_video(out: Any, codec: str) -> Any:
    stream = out.add_stream(codec, rate=FPS)
    stream.width, stream.height = 256, 64
    stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    stream.codec_context.gop_size = 10
    return stream


def _encoded(stream: Any, frames: int, first: int) -> list[Any]:
    packets: list[Any] = []
    for number in range(frames):
        frame = av.VideoFrame.from_ndarray(numbered(number), format="bgr24")
        frame.pts, frame.time_base = first + number, Fraction(1, FPS)
        packets += stream.encode(frame)
    packets += stream.encode()
    return packets


def _silence(stream: Any, seconds: float) -> list[Any]:
    context = stream.codec_context
    context.layout = "mono"
    context.open()
    size, form = context.frame_size or 1152, context.format.name
    kind = np.int16 if form.startswith("s16") else np.float32
    packets: list[Any] = []
    for place in range(0, round(seconds * RATE), size):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, size), kind), format=form, layout="mono")
        frame.pts, frame.sample_rate, frame.time_base = place, RATE, Fraction(1, RATE)
        packets += stream.encode(frame)
    packets += stream.encode()
    return packets
