"""Video files: every frame, its time, and what damage says."""

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from image_samples import Image, number_in, numbered
from stream.errors import SourceError
from stream.sources.base import LOOP_GAP, Frame
from stream.sources.video import VideoSource, open_video

FPS = 30.0


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A video of 40 numbered frames."""
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (256, 64))
    for number in range(40):
        writer.write(numbered(number))
    writer.release()
    return path


def read_until_error(source: VideoSource) -> tuple[list[Frame], str]:
    frames: list[Frame] = []
    with pytest.raises(SourceError) as caught:
        frames.extend(source)
    message = str(caught.value)
    assert "\n" not in message
    return frames, message


class TestFile:
    def test_gives_every_frame_with_its_time(self, film: Path, stop: threading.Event) -> None:
        frames = list(VideoSource(film, "max", stop))
        assert [number_in(frame.image) for frame in frames] == list(range(40))
        np.testing.assert_allclose([frame.time for frame in frames], np.arange(40) / FPS, atol=1e-6)

    def test_drops_nothing_for_a_slow_consumer(self, film: Path, stop: threading.Event) -> None:
        source = VideoSource(film, "realtime", stop)
        seen = []
        for frame in itertools.islice(source, 12):
            stop.wait(0.05)  # 1.5 frames
            seen.append(number_in(frame.image))
        assert seen == list(range(12))
        assert source.counts == {}

    def test_is_paced_by_presentation_time(self, film: Path, stop: threading.Event) -> None:
        begin = time.monotonic()
        frames = list(itertools.islice(VideoSource(film, "realtime", stop), 10))
        assert time.monotonic() - begin >= 9 / FPS
        due = np.diff([frame.captured_ns for frame in frames])
        np.testing.assert_allclose(due, 1e9 / FPS, rtol=1e-4)

    def test_loops_with_a_gap(self, film: Path, stop: threading.Event) -> None:
        frames = list(itertools.islice(VideoSource(film, "max", stop, loop=True), 90))
        assert [number_in(frame.image) for frame in frames] == [i % 40 for i in range(90)]
        steps = np.diff([frame.time for frame in frames])
        at_the_seam = np.isin(np.arange(89), (39, 79))
        np.testing.assert_allclose(steps[at_the_seam], LOOP_GAP)
        np.testing.assert_allclose(steps[~at_the_seam], 1 / FPS, atol=1e-6)

    def test_ends_when_stopped_or_closed(self, film: Path, stop: threading.Event) -> None:
        source = VideoSource(film, "realtime", stop, loop=True)
        for frames, end in ((3, source.close), (5, stop.set)):
            again = VideoSource(film, "realtime", stop, loop=True) if end == stop.set else source
            for count, _ in enumerate(again, start=1):
                if count == frames:
                    end()
            assert count == frames

    def test_cut_short_gives_what_is_there_and_says_so(self, film: Path, stop: threading.Event) -> None:
        content = film.read_bytes()
        film.write_bytes(content[: len(content) * 6 // 10])
        frames, message = read_until_error(VideoSource(film, "max", stop))
        assert 15 <= len(frames) <= 25
        assert [number_in(frame.image) for frame in frames] == list(range(len(frames)))
        assert f"breaks off after frame {len(frames)} of 40" in message

    def test_real_video(self, shared: Path, stop: threading.Event) -> None:
        frames = list(VideoSource(shared / "data/video/two_people_indoor.mp4", "max", stop))
        assert len(frames) == 72
        assert {frame.image.shape for frame in frames} == {(1080, 1920, 3)}
        steps = np.diff([frame.time for frame in frames])
        # Its frames come at 30 a second with one pause, which frame number / 28 fps would not show.
        assert steps[66] == pytest.approx(0.2)
        np.testing.assert_allclose(np.delete(steps, 66), 1 / 30, atol=1e-6)

    def test_real_video_with_damage(self, shared: Path, tmp_path: Path, stop: threading.Event) -> None:
        content = bytearray((shared / "data/video/two_people_indoor.mp4").read_bytes())
        content[300_000:340_000] = bytes(40_000)
        damaged = tmp_path / "damaged.mp4"
        damaged.write_bytes(content)
        frames, message = read_until_error(VideoSource(damaged, "max", stop))
        assert 10 < len(frames) < 70
        assert f"after frame {len(frames)} of 72" in message

    def test_what_is_no_video(self, tmp_path: Path, stop: threading.Event) -> None:
        for name, content in (("empty.mp4", b""), ("noise.mp4", bytes(range(256)) * 40), ("text.txt", b"a b\n" * 999)):
            path = tmp_path / name
            path.write_bytes(content)
            frames, message = read_until_error(VideoSource(path, "max", stop))
            assert frames == []
            assert name in message

    def test_missing_file_and_folder(self, tmp_path: Path, stop: threading.Event) -> None:
        with pytest.raises(SourceError, match=r"nowhere\.mp4 does not exist"):
            open_video(str(tmp_path / "nowhere.mp4"), "max", stop)
        with pytest.raises(SourceError, match="is a folder"):
            open_video(str(tmp_path), "max", stop)


class FakeCapture:
    """Plays frames with the stamps (seconds) that a test wants, then ends."""

    def __init__(self, stamps: list[float], fps: float, announced: float) -> None:
        self._stamps = stamps
        self._next = 0
        self._properties = {cv2.CAP_PROP_FPS: fps, cv2.CAP_PROP_FRAME_COUNT: announced}

    def read(self) -> tuple[bool, Image | None]:
        if self._next == len(self._stamps):
            return False, None
        self._next += 1
        return True, numbered(self._next - 1)

    def get(self, prop: int) -> float:
        if prop == cv2.CAP_PROP_POS_MSEC:
            return self._stamps[self._next - 1] * 1000
        return self._properties.get(prop, 0.0)

    def release(self) -> None:
        pass


class TestContainerQuirks:
    @pytest.fixture
    def play(
        self, monkeypatch: pytest.MonkeyPatch, film: Path, stop: threading.Event
    ) -> Callable[[list[float], float, float], list[float]]:
        def play(stamps: list[float], fps: float, announced: float) -> list[float]:
            monkeypatch.setattr(cv2, "VideoCapture", lambda path: FakeCapture(stamps, fps, announced))
            return [frame.time for frame in VideoSource(film, "max", stop)]

        return play

    def test_no_stamps_means_frame_number_over_rate(self, play: Callable[..., list[float]]) -> None:
        np.testing.assert_allclose(play([0.0] * 5, 25.0, 5), np.arange(5) / 25)

    def test_no_rate_either(self, play: Callable[..., list[float]]) -> None:
        np.testing.assert_allclose(play([0.0] * 3, 0.0, 0), np.arange(3) / 30)
        np.testing.assert_allclose(play([0.0] * 3, float("nan"), -1e18), np.arange(3) / 30)

    def test_a_first_stamp_after_zero_is_zero(self, play: Callable[..., list[float]]) -> None:
        np.testing.assert_allclose(play([1.5, 1.6, 1.7], 10.0, 3), (0, 0.1, 0.2))

    def test_stamps_that_fall_back_still_give_rising_times(self, play: Callable[..., list[float]]) -> None:
        times = play([0.0, 0.1, 0.05, 0.05, 0.4], 10.0, 5)
        assert (np.diff(times) > 0).all()
        assert times[-1] == pytest.approx(0.4)

    def test_a_varying_rate_is_no_damage(self, play: Callable[..., list[float]]) -> None:
        # 2 s at a nominal 60 fps in only 20 frames: the container's guess at their number is 120.
        assert len(play([i / 10 for i in range(20)], 60.0, 114)) == 20

    def test_one_or_two_missing_frames_are_no_damage(self, play: Callable[..., list[float]]) -> None:
        stamps = [i / 30 for i in range(28)]
        assert len(play(stamps, 30.0, 30)) == 28
        with pytest.raises(SourceError, match="after frame 28 of 31"):
            play(stamps, 30.0, 31)
