import fcntl
import os
import signal
import struct
import sys
import termios
import threading
import time
from pathlib import Path

import pytest

from processes import Start
from stream.command.output import Output
from stream.wire.packets import encode
from wire_samples import PATIENCE, Rogue, sample


def waiting(pipe: int) -> int:
    """Bytes that wait in a pipe."""
    return int(struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0])


def test_lines_come_out_whole_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    ear, mouth = os.pipe()
    heard: list[str] = []
    with os.fdopen(ear) as source, os.fdopen(mouth, "w") as sink:
        reader = threading.Thread(target=lambda: heard.extend(source))
        reader.start()
        monkeypatch.setattr(sys, "stdout", sink)
        output = Output(threading.Event())
        lines = [f"{n} {'x' * (n % 10_000)}" for n in range(0, 50_000, 501)]
        for line in lines:
            output.line(line)
        sink.close()
        reader.join(PATIENCE)
    assert heard == [f"{line}\n" for line in lines]
    assert not output.given_up


def test_a_stop_ends_the_wait_for_a_reader_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.command.output.PATIENCE", 0.05)
    ear, mouth = os.pipe()
    with os.fdopen(ear), os.fdopen(mouth, "w") as sink:
        monkeypatch.setattr(sys, "stdout", sink)
        stop = threading.Event()
        output = Output(stop)
        stop.set()
        for _ in range(100):
            output.line("x" * 10_000)
    assert output.given_up


@pytest.mark.parametrize("logged", [False, True])
def test_a_subscriber_whose_output_nobody_reads_ends_when_asked_to(launch: Start, tmp_path: Path, logged: bool) -> None:
    with Rogue() as rogue:
        flags = ["--log", str(tmp_path / "tokens.db")] if logged else []
        subscriber = launch("-m", "stream.subscriber", "--connect", rogue.address, "--json", *flags)
        rogue.wait_for_subscriber(b"tok/")
        assert subscriber.stdout is not None
        deadline, seq = time.monotonic() + PATIENCE, 0
        while waiting(subscriber.stdout.fileno()) < 45_000:
            assert time.monotonic() < deadline
            rogue.send(encode(sample(seq=seq)))
            seq += 1
            time.sleep(0.001)
        for more in range(1000):  # far more than the rest of the pipe takes
            rogue.send(encode(sample(seq=seq + more)))
        subscriber.send_signal(signal.SIGTERM)
        assert subscriber.wait(PATIENCE) == 0
