"""Films as people have them: with more sound than picture, cut, damaged, turned, with odd pixels and time stamps."""

import functools
import http.server
import math
import threading
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import given
from hypothesis import strategies as st

from film_samples import spoil, write_film
from image_samples import number_in
from stream.errors import SourceError
from stream.sources.base import LOOP_GAP
from stream.sources.film import Film, Picture, Timeline
from stream.sources.live import AddressSource
from stream.sources.video import VideoSource, open_video

CONTAINERS = [("mp4", "mpeg4"), ("mkv", "mpeg4"), ("webm", "libvpx"), ("flv", "flv"), ("mpg", "mpeg2video"),
              ("ts", "mpeg2video"), ("wmv", "wmv2"), ("avi", "mjpeg"), ("mov", "mpeg4")]  # fmt: skip


def read(path: Path) -> tuple[list[Picture], Counter[str]]:
    counts: Counter[str] = Counter()
    return list(Film(str(path), counts)), counts


def read_until_error(path: Path) -> tuple[list[Picture], str]:
    pictures: list[Picture] = []
    with pytest.raises(SourceError) as caught:
        pictures.extend(Film(str(path), Counter()))
    return pictures, str(caught.value)


@pytest.mark.parametrize(("ending", "codec"), CONTAINERS)
def test_sound_that_outlasts_the_picture_is_not_a_cut(ending: str, codec: str, tmp_path: Path) -> None:
    path = write_film(tmp_path / f"film.{ending}", codec=codec, sound=2.5)
    pictures, counts = read(path)
    assert [number_in(picture.image) for picture in pictures] == list(range(40))
    assert not counts


@pytest.mark.parametrize(("ending", "codec"), CONTAINERS)
def test_a_cut_is_said_after_what_there_is(ending: str, codec: str, tmp_path: Path) -> None:
    path = write_film(tmp_path / f"film.{ending}", codec=codec, options={"movflags": "faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 4 // 10 | 1])  # odd: within a packet
    pictures, message = read_until_error(path)
    assert 0 < len(pictures) < 40
    assert f"breaks off after frame {len(pictures)}" in message


def test_a_fragmented_film_whole_and_cut(tmp_path: Path) -> None:
    flags = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    path = write_film(tmp_path / "film.mp4", sound=2.5, options=flags)
    assert len(read(path)[0]) == 40
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 4 // 10])
    pictures, message = read_until_error(path)
    assert 0 < len(pictures) < 40
    assert "breaks off" in message


def test_a_picture_that_begins_after_the_sound(tmp_path: Path) -> None:
    pictures, _ = read(write_film(tmp_path / "film.mkv", sound=2.5, late=1.0))
    assert len(pictures) == 40
    assert pictures[0].time == 0
    assert pictures[-1].time == pytest.approx(39 / 30, abs=2e-3)


@pytest.mark.parametrize("at", [0, 12])
def test_a_picture_that_cannot_be_decoded_costs_that_picture(at: int, tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.avi", codec="mjpeg")
    spoil(path, range(at, at + 1))
    pictures, counts = read(path)
    assert [number_in(picture.image) for picture in pictures] == [n for n in range(40) if n != at]
    assert counts == {"frames damaged": 1}


def test_what_the_reader_leaves_out_of_an_ogg_counts(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.ogv", codec="libvpx")
    content = bytearray(path.read_bytes())
    pages = [place for place in range(len(content)) if content[place : place + 5] == b"OggS\0"]
    content[pages[len(pages) // 2] + 60] ^= 255
    path.write_bytes(content)
    pictures, counts = read(path)
    assert 0 < counts["frames damaged"] == 40 - len(pictures) < 40


def test_pictures_that_lack_another_are_shown(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", codec="libx265")
    with av.open(str(path)) as film:
        place, size = [(packet.pos, packet.size) for packet in film.demux(video=0) if packet.size][5]
    content = bytearray(path.read_bytes())
    assert place is not None
    content[place : place + size] = bytes(size)
    path.write_bytes(content)
    pictures, counts = read(path)
    assert len(pictures) >= 38
    assert counts["frames damaged"]


def test_nothing_but_damage_is_no_video(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.avi", codec="mjpeg")
    spoil(path, range(40))
    pictures, message = read_until_error(path)
    assert not pictures
    assert "no readable video" in message


def test_the_stream_that_plays_is_taken(tmp_path: Path) -> None:
    for stills in (1, 5):
        pictures, _ = read(write_film(tmp_path / f"film{stills}.mp4", stills=stills))
        assert len(pictures) == 40


def test_music_with_a_cover_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.mp3"), "w") as out:
        tone = out.add_stream("mp3", rate=44100)
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="bgr24")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 44100
        for packet in (*tone.encode(silence), *tone.encode(), *cover.encode(picture), *cover.encode()):
            out.mux(packet)
    with pytest.raises(SourceError, match="no readable video"):
        read(tmp_path / "song.mp3")


def test_pixels_come_out_square(tmp_path: Path) -> None:
    for aspect, shape in ((Fraction(4, 3), (64, 341, 3)), (Fraction(1, 2), (128, 256, 3))):
        pictures, _ = read(write_film(tmp_path / f"{aspect.numerator}.mkv", aspect=aspect))
        assert pictures[0].image.shape == shape


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_film_is_turned_upright(degrees: int, tmp_path: Path) -> None:
    image = read(write_film(tmp_path / "film.mp4", rotation=degrees))[0][0].image
    plain = read(write_film(tmp_path / "plain.mp4"))[0][0].image
    np.testing.assert_array_equal(image, np.rot90(plain, degrees // 90))
    assert image.flags.c_contiguous


class TestTimeline:
    def times(self, stamps: list[float], fps: float = 10.0) -> list[float]:
        clock = Timeline(fps)
        return [clock.at(stamp)[0] for stamp in stamps]

    def test_no_stamps_means_frame_number_over_rate(self) -> None:
        np.testing.assert_allclose(self.times([0.0] * 5, 25.0), np.arange(5) / 25)
        np.testing.assert_allclose(self.times([math.nan] * 5, 25.0), np.arange(5) / 25)

    def test_a_first_stamp_after_zero_is_zero(self) -> None:
        np.testing.assert_allclose(self.times([1.5, 1.6, 1.7]), (0, 0.1, 0.2))

    def test_stamps_that_fall_back_still_give_rising_times(self) -> None:
        times = self.times([0.0, 0.1, 0.05, 0.05, 0.4])
        assert (np.diff(times) > 0).all()
        assert times[-1] > 0.3

    @pytest.mark.parametrize("jump", [3600.0, -95443.7, 11.0, -1.5])
    def test_a_seam_of_two_recordings_is_a_short_gap(self, jump: float) -> None:
        clock = Timeline(10.0)
        steps = [clock.at(stamp) for stamp in (0.0, 0.1, 0.2 + jump, 0.3 + jump)]
        np.testing.assert_allclose([time for time, _ in steps], [0, 0.1, 0.1 + LOOP_GAP, 0.2 + LOOP_GAP], atol=1e-6)
        assert [bool(by) for _, by in steps] == [False, False, True, False]

    @given(st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=2, max_size=40))
    def test_whatever_the_stamps_are_times_rise_and_nothing_waits_for_long(self, stamps: list[float]) -> None:
        steps = np.diff(self.times(stamps))
        assert (steps > 0).all()
        assert (steps <= 10.0 + 1e-6).all()


class TestServer:
    @pytest.fixture
    def served(self, tmp_path: Path) -> Iterator[str]:
        """The address of a web server that has film.mp4."""
        write_film(tmp_path / "film.mp4", sound=2.5, options={"movflags": "faststart"})

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/film.mp4"
        server.shutdown()
        server.server_close()
        thread.join()

    def test_a_film_on_a_web_server_is_read_once(self, served: str) -> None:
        source = open_video(served, "max", threading.Event())
        assert isinstance(source, VideoSource)
        assert not source.live
        assert "a film" in source.label
        frames = list(source)
        assert [number_in(frame.image) for frame in frames] == list(range(40))
        np.testing.assert_allclose([frame.time for frame in frames], np.arange(40) / 30, atol=1e-3)

    def test_the_user_knows_better(self, served: str) -> None:
        assert isinstance(open_video(served, "realtime", threading.Event(), live=True), AddressSource)
        assert isinstance(open_video("http://127.0.0.1:9/x", "max", threading.Event(), live=False), VideoSource)


@pytest.mark.parametrize(
    ("name", "pictures", "counts"),
    [
        ("sound/trim.mp4", 47, {}),
        ("sound/a2.65.mkv", 77, {}),
        ("sound/longaudio.webm", 77, {}),
        ("sound/frag.mp4", 77, {}),
        ("sound/theora.ogv", 76, {}),
        ("sound/jumpfwd.ts", 76, {"time jumps"}),
        ("sound/coverfirst.mp4", 77, {}),
        ("sound/sar43.mp4", 77, {}),
        ("bad/bad_mjpeg.avi", 76, {"frames damaged"}),
        ("bad/harm_mid.ts", 73, {"frames damaged", "time jumps"}),
        ("control/base.mp4", 77, {}),
    ],
)
def test_films_from_the_field(name: str, pictures: int, counts: set[str], shared: Path) -> None:
    found, met = read(shared / "cases" / name)
    assert len(found) == pictures
    assert set(met) == set(counts)
    assert found[-1].time < 6


@pytest.mark.parametrize("name", ["control/cut.avi", "control/cutdur.mkv"])
def test_films_from_the_field_that_are_cut(name: str, shared: Path) -> None:
    _, message = read_until_error(shared / "cases" / name)
    assert "breaks off after frame" in message
