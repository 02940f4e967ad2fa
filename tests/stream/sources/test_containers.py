"""Which files were cut off, by the sizes that their containers tell: those of MPEG and DV, byte by byte."""

import io
from pathlib import Path

import pytest

from film_samples import write_film
from stream.sources.containers import NTSC_FRAME, PAL_FRAME, is_cut_off


def content_of(folder: Path, ending: str) -> bytes:
    return write_film(folder / f"film.{ending}", codec="mpeg2video", sound=1.0).read_bytes()


def cut_off(content: bytes) -> bool:
    return is_cut_off(io.BytesIO(content))


@pytest.mark.parametrize("ending", ["ts", "m2ts", "mpg", "vob"])
def test_a_stream_that_ends_within_a_packet(ending: str, tmp_path: Path) -> None:
    content = content_of(tmp_path, ending)
    assert not cut_off(content)
    for missing in (1, 5, 100, 1001):
        assert cut_off(content[:-missing]), missing


def test_a_transport_stream_may_begin_anywhere_and_end_between_packets(tmp_path: Path) -> None:
    content = content_of(tmp_path, "ts")
    for begin in (1, 100, 187, 188 * 7 + 5):
        assert not cut_off(content[begin : -188 * 3])
        assert cut_off(content[begin:-10])
    assert not cut_off(content[:-700] + bytes(700))  # whatever it is, nobody can tell


def test_recordings_put_together_are_judged_by_the_last(tmp_path: Path) -> None:
    for ending in ("ts", "mpg"):
        content = content_of(tmp_path, ending)
        assert not cut_off(content[:-101] + content)
        assert cut_off(content + content[:-101])


def test_padding_and_an_end_code_end_a_program_stream(tmp_path: Path) -> None:
    content = content_of(tmp_path, "mpg")
    for ending in (b"\0\0\1\xb9", bytes(2048)):
        assert not cut_off(content + ending)


@pytest.mark.parametrize(("system", "size"), [(0xBF, PAL_FRAME), (0x3F, NTSC_FRAME)])
def test_dv_has_whole_frames(system: int, size: int) -> None:
    frame = bytes([0x1F, 7, 0, system]) + bytes(size - 4)
    assert not cut_off(3 * frame)
    assert cut_off(3 * frame + frame[:5000])
