"""What reaches standard error once native libraries write elsewhere: a process of its own each time."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

DIVERTED = """
import logging, os, sys
from stream.pose.quiet import divert_native_stderr

native = lambda line: os.write(2, line)
native(b"before\\n")
divert_native_stderr()
divert_native_stderr()
"""


def run(code: str, **options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", DIVERTED + code],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        env=os.environ | options,
    )


def test_what_native_code_writes_is_not_seen_and_what_python_says_is() -> None:
    done = run(
        """
native(b"an odd line of a version to come\\n" * 5000)
print("printed", file=sys.stderr)
logging.basicConfig()
logging.warning("logged, with \\u2192")
native(b"while closing")
""",
        PYTHONIOENCODING="utf-8",
    )
    assert done.returncode == 0
    assert done.stderr == "before\nprinted\nWARNING:root:logged, with →\n"


def test_an_exception_is_seen() -> None:
    done = run('native(b"noise\\n"); raise ValueError("ours")')
    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: ours\n")
    assert "noise" not in done.stderr


def test_a_crash_is_seen_with_what_was_written_before_it() -> None:
    done = run('native(b"noise\\n" * 50000 + b"Assertion failed: x > 0 (y.cpp:310)\\n"); os.abort()')
    assert done.returncode == -signal.SIGABRT
    assert "Assertion failed: x > 0 (y.cpp:310)\nFatal Python error: Aborted" in done.stderr
    assert 'File "<string>", line' in done.stderr  # where in Python
    assert len(done.stderr) < 1 << 17


def test_a_crash_is_seen_where_faulthandler_was_on_before() -> None:
    done = run('native(b"last words\\n"); os.kill(os.getpid(), 11)', PYTHONFAULTHANDLER="1")
    assert done.returncode == -signal.SIGSEGV
    assert "last words\nFatal Python error: Segmentation fault" in done.stderr


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 15)"])
def test_an_end_at_once_is_no_crash(end: str) -> None:
    assert run(f'native(b"noise\\n"); {end}').stderr == "before\n"


def test_the_signal_that_ends_a_whole_group_of_processes_hides_no_crash() -> None:
    # As Ctrl-C on a terminal, or systemd's SIGTERM to all of a service.
    done = run("""
import pathlib, signal, time
from stream.pose.quiet import _keepers
ignored = 0
while not ignored & 1 << signal.SIGTERM - 1:  # until it has started
    ignored = int(pathlib.Path(f"/proc/{_keepers[0].pid}/status").read_text().split("SigIgn:")[1].split()[0], 16)
    time.sleep(0.01)
_keepers[0].send_signal(signal.SIGTERM)
_keepers[0].send_signal(signal.SIGINT)
native(b"last words\\n")
os.abort()
""")
    assert "last words" in done.stderr


def test_standard_error_that_is_closed_or_elsewhere_is_left_alone() -> None:
    code = DIVERTED.replace('native(b"before\\n")', "os.close(2); sys.stderr = None") + "print(sys.stderr)"
    closed = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60)
    assert (closed.returncode, closed.stdout) == (0, "None\n")
    notebook = "import io, sys; sys.stderr = io.StringIO()" + DIVERTED + 'native(b"after\\n")'
    done = subprocess.run([sys.executable, "-c", notebook], capture_output=True, encoding="utf-8", timeout=60)
    assert done.stderr == "before\nafter\n"


def test_without_a_process_to_spare_everything_is_seen() -> None:
    refused = """
import subprocess
def refuse(*arguments, **options):
    raise BlockingIOError(11, "Resource temporarily unavailable")
subprocess.Popen.__init__ = refuse
"""
    code = refused + DIVERTED + 'native(b"after\\n"); print("ours", file=sys.stderr)'
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60)
    assert done.stderr == "before\nafter\nours\n"


def test_every_line_of_a_producer_that_watches_a_video_is_json(shared: Path) -> None:
    video, model = shared / "data/video/two_people_indoor.mp4", shared / "models/pose_landmarker_full.task"
    flags = ["--video", str(video), "--pose-model", str(model), "--duration", "0.1", "--log-format", "json"]
    command = [sys.executable, "-m", "stream.producer", *flags, "--bind", "tcp://127.0.0.1:*"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0
    events = [msgspec.json.decode(line)["event"] for line in done.stderr.splitlines()]
    assert events[0] == "started"
    assert events[-1] == "ended"
