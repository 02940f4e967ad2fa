"""Cameras and live addresses: what is dropped, what is survived, and that no password shows."""

import itertools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_samples import Image, MjpegServer, number_in, numbered
from stream.errors import SourceError
from stream.sources import address, live
from stream.sources.address import redact
from stream.sources.base import Frame
from stream.sources.camera import CameraSource
from stream.sources.live import LiveSource
from stream.sources.video import open_video


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


class TestRedact:
    @pytest.mark.parametrize(
        ("address", "shown"),
        [
            ("rtsp://cam.local:554/live", "rtsp://cam.local:554/live"),
            ("rtsp://bob:s3cret@cam/live", "rtsp://***@cam/live"),
            ("rtsp://bob:s3c@ret@cam/live", "rtsp://***@cam/live"),
            ("rtsp://bob:s3/cr?et@cam/live", "rtsp://***@cam/live"),
            ("http://cam/video?user=bob&pwd=s3cret#x", "http://cam/video?user=***&pwd=***#x"),
            ("rtsp://cam/user=bob&password=s3cret&channel=1/main", "rtsp://cam/user=***&password=***&channel=***/main"),
        ],
    )
    def test_examples(self, address: str, shown: str) -> None:
        assert redact(address) == shown

    @given(st.text(st.characters(exclude_characters="\n"), min_size=1))
    def test_no_password_is_left(self, password: str) -> None:
        assert redact(f"rtsp://bob:{password}@cam/live") == "rtsp://***@cam/live"

    def test_no_output_shows_the_password(self) -> None:
        """Neither our message nor what OpenCV and FFmpeg print by themselves."""
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        code = """if True:
            import sys, threading
            from stream.sources.video import open_video
            for address in sys.argv[1:]:
                try:
                    source = open_video(address, "max", threading.Event())
                    print(source.label)
                    list(source)
                except Exception as error:
                    print(error)
        """
        addresses = [f"{scheme}://bob:s3cret@127.0.0.1:{port}/x?key=s3cret" for scheme in ("rtsp", "http", "nonsense")]
        done = subprocess.run(
            [sys.executable, "-c", code, *addresses], capture_output=True, encoding="utf-8", timeout=60
        )
        assert "s3cret" not in done.stdout + done.stderr
        assert done.stdout.count("gives no image") == 3
        assert len(done.stdout.splitlines()) == 6  # FFmpeg prints there when it may
        assert done.stderr == ""


class Tap:
    """A capture whose frames a test lets through one by one; `close` ends it as an unplugged camera would."""

    def __init__(self, first: int = 0) -> None:
        self._numbers = itertools.count(first)
        self._may = threading.Semaphore(0)
        self._over = False
        self._number = 0
        self.taken = 0
        self.released = False

    def let_one(self) -> None:
        self._may.release()

    def let(self, count: int) -> None:
        """Let frames through and wait until they are read."""
        goal = self.taken + count
        self._may.release(count)
        wait_for(lambda: self.taken >= goal)

    def end(self) -> None:
        self._over = True
        self._may.release()

    def grab(self) -> bool:
        self.taken = self._number
        self._may.acquire()
        self._number += 1
        return not self._over

    def retrieve(self) -> tuple[bool, Image]:
        return True, numbered(next(self._numbers))

    def release(self) -> None:
        self.released = True


class Dead:
    """A capture that cannot be opened."""

    def grab(self) -> bool:
        return False

    def release(self) -> None:
        pass


def wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.002)


class TestLive:
    def test_the_newest_frame_wins_and_the_others_are_counted(self, stop: threading.Event) -> None:
        tap: Any = Tap()
        source = LiveSource(lambda: tap, "tap", "unreachable", stop)
        frames = iter(source)
        tap.let_one()
        assert number_in(next(frames).image) == 0
        tap.let(5)
        assert number_in(next(frames).image) == 5
        assert source.counts == {"frames dropped": 4}
        stop.set()
        tap.end()
        assert list(frames) == []

    def test_a_lost_device_is_opened_again_with_growing_pauses(
        self, stop: threading.Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(live, "FIRST_PAUSE", 0.01)
        monkeypatch.setattr(live, "LONGEST_PAUSE", 0.03)
        first, second, third = Tap(), Tap(first=100), Tap(first=200)
        captures: Iterator[Any] = iter([first, Dead(), Dead(), Dead(), second, third])
        source = LiveSource(lambda: next(captures), "tap", "unreachable", stop)
        frames = iter(source)
        first.let_one()
        before = next(frames)
        first.end()
        second.let_one()
        after = next(frames)
        assert (number_in(before.image), number_in(after.image)) == (0, 100)
        assert after.time > before.time
        assert after.captured_ns == pytest.approx(after.time * 1e9, abs=1e3)
        assert source.counts == {"reconnects": 1}
        second.end()
        third.let_one()
        assert number_in(next(frames).image) == 200
        assert source.counts == {"reconnects": 2}
        pauses = [record.args[1] for record in caplog.records if isinstance(record.args, tuple) and record.args[1:]]
        assert pauses == [0.01, 0.02, 0.03, 0.01]  # each length once
        stop.set()
        third.end()
        assert list(frames) == []

    def test_nothing_at_first_is_an_error(self, stop: threading.Event) -> None:
        dead: Any = Dead()
        with pytest.raises(SourceError, match="out of reach"):
            next(iter(LiveSource(lambda: dead, "tap", "out of reach", stop)))

    @pytest.mark.parametrize("after", [0, 1], ids=["opening", "reading"])
    def test_a_hanging_device_can_be_stopped(self, stop: threading.Event, after: int) -> None:
        tap: Any = Tap()
        frames = iter(LiveSource(lambda: tap, "tap", "unreachable", stop))
        for _ in range(after):
            tap.let_one()
            next(frames)
        threading.Timer(0.1, stop.set).start()
        begin = time.monotonic()
        assert list(frames) == []
        assert time.monotonic() - begin < address.READ_TIMEOUT
        tap.end()

    def test_a_device_that_hangs_is_given_up_for_a_new_connection(
        self, stop: threading.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(live, "FIRST_PAUSE", 0.01)
        monkeypatch.setattr(live, "READ_TIMEOUT", 0.2)
        hanging, fresh = Tap(), Tap(first=100)
        captures: Iterator[Any] = iter([hanging, fresh])
        source = LiveSource(lambda: next(captures), "tap", "unreachable", stop)
        frames = iter(source)
        hanging.let_one()
        next(frames)
        fresh.let_one()
        assert number_in(next(frames).image) == 100
        hanging.let_one()  # comes back to life: its frame is nobody's any more
        wait_for(lambda: hanging.released)
        fresh.let_one()
        assert number_in(next(frames).image) == 101
        stop.set()
        fresh.end()
        assert list(frames) == []

    def test_no_such_camera(self, stop: threading.Event) -> None:
        with pytest.raises(SourceError, match=r"no camera 97.*(try|plug)"):
            next(iter(CameraSource(97, stop)))


@contextmanager
def reading(source: Any) -> Iterator[list[Frame]]:
    """Read a source into a list in a thread."""
    frames: list[Frame] = []
    thread = threading.Thread(target=lambda: frames.extend(source))
    thread.start()
    try:
        yield frames
    finally:
        source.close()
        thread.join(timeout=5)
        assert not thread.is_alive()


class TestAddress:
    def test_a_server_that_dies_and_comes_back(self, stop: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(live, "FIRST_PAUSE", 0.05)
        with ExitStack() as servers:
            server = servers.enter_context(closing(MjpegServer()))
            source = open_video(f"http://bob:s3cret@127.0.0.1:{server.port}/live", "max", stop)
            assert "s3cret" not in source.label
            with reading(source) as frames:
                wait_for(lambda: len(frames) >= 3)
                server.close()
                # It comes back with larger images, as after a change of its settings.
                servers.enter_context(closing(MjpegServer(server.port, width=512)))
                wait_for(lambda: any(frame.image.shape[1] == 512 for frame in frames))
            assert source.counts["reconnects"] == 1
            times = [frame.time for frame in frames]
            assert (np.diff(times) > 0).all()
            assert time.monotonic() - 30 < times[0] < times[-1] < time.monotonic()

    def test_a_server_that_never_answers_can_be_stopped(self, stop: threading.Event) -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            source = open_video(f"http://127.0.0.1:{mute.getsockname()[1]}/live", "max", stop)
            threading.Timer(0.2, stop.set).start()
            begin = time.monotonic()
            assert list(source) == []
            assert time.monotonic() - begin < address.OPEN_TIMEOUT

    def test_no_server(self, stop: threading.Event) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        with pytest.raises(SourceError, match=rf"http://127\.0\.0\.1:{port}/live gives no image.*check"):
            list(open_video(f"http://127.0.0.1:{port}/live", "max", stop))
