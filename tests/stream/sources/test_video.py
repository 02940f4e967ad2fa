"""Video files: every frame, its time, and what damage says."""

import itertools
import os
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from image_samples import number_in, numbered
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
        source = VideoSource(damaged, "max", stop)
        frames = list(source)  # it costs what is damaged
        assert 60 < len(frames) <= 72
        assert frames[-1].time == pytest.approx(71 / 30 + 0.2 - 1 / 30, abs=1e-3)
        assert source.counts["frames damaged"] > 0

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

    def test_what_is_not_a_file(self, tmp_path: Path, stop: threading.Event) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(SourceError, match="is a pipe"):
            open_video(str(tmp_path / "pipe"), "max", stop)
        with pytest.raises(SourceError, match="is a device: for a camera"):
            open_video("/dev/null", "max", stop)

    def test_a_file_that_may_not_be_read(
        self, film: Path, stop: threading.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(SourceError, match="cannot be read: permission denied"):
            open_video(str(film), "max", stop)

    def test_any_name_that_a_file_may_have(
        self, film: Path, stop: threading.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(film.parent)
        for name in (b"a:b.avi", b"http:x.avi", b"f\xff\xfem.avi", b"-.avi", b"%d?.avi"):
            os.link(film, name)
            source = open_video(os.fsdecode(name), "max", stop)
            source.label.encode()  # to be shown anywhere
            assert len(list(source)) == 40

    def test_an_address_must_be_utf8(self, stop: threading.Event) -> None:
        with pytest.raises(SourceError, match="not a valid address"):
            open_video(os.fsdecode(b"http://host/\xff"), "max", stop)
