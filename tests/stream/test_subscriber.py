"""The subscriber as users run it: a process of its own, over TCP, against a real publisher."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from control_samples import Relay, Source
from processes import Start
from stream.log.reader import LogReader
from stream.publish.publisher import Publisher
from stream.wire.packets import Packet, encode
from tokenizer_samples import CONFIDENCE, GRID, write_tokenizer
from wire_samples import PATIENCE, Rogue, hop_of, sample

Subscriber = subprocess.Popen[str]


@pytest.fixture
def start(launch: Start) -> Start:
    """Start subscribers."""

    def begin(address: str, *flags: str) -> Subscriber:
        return launch("-m", "stream.subscriber", "--connect", address, *flags)

    return begin


@contextmanager
def publisher_heard_by(start: Start, *flags: str, stream: str = "demo") -> Iterator[tuple[Publisher, Subscriber]]:
    """Give a publisher and a subscriber with these flags that hears it."""
    with Publisher("tcp://127.0.0.1:*", stream) as publisher:
        subscriber = start(publisher.address, *flags)
        assert publisher.wait_for_subscriber(PATIENCE), "the subscriber does not come"
        yield publisher, subscriber


def line(stream: object) -> str:
    text: str = stream.readline()  # type: ignore[attr-defined]
    return text.rstrip("\n")


def logged_in(path: Path) -> list[Packet]:
    with LogReader(path) as reader:
        return [logged.packet for logged in reader.packets()]


def test_json_has_every_field_of_the_packet(start: Start) -> None:
    with publisher_heard_by(start, "--json", "--count", "2") as (publisher, subscriber):
        now = {"t": time.monotonic_ns(), "wall": time.time_ns()}
        first = publisher.publish(**hop_of(track=4, frame=80, observed=0xF7, reset=True, **now))
        second = publisher.publish(**hop_of(track=5))
        out, err = subscriber.communicate(timeout=PATIENCE)
    assert subscriber.returncode == 0
    assert [line for line in err.splitlines() if not line.startswith("waiting")] == [
        "demo: the producer is there",
        "received 2, gaps 0, duplicates 0, late 0, invalid 0",
    ]
    got, other = [json.loads(text) for text in out.splitlines()]
    latency = got.pop("latency_ms")
    assert 0 < latency < 1000 * PATIENCE
    assert got == {
        "v": 1,
        "stream": "demo",
        "track": 4,
        "epoch": first.epoch.hex(),
        "seq": 0,
        "frame": 80,
        **now,
        "fps": 30.0,
        "hop": 8,
        "tokenizer": "heatmap2d-f8@0123456789ab",
        "shape": [1, 1, 8, 8],
        "tokens": list(range(64)),
        "box": [320.0, 240.0, 200.0],
        "unit": "px",
        "observed": 0xF7,
        "reset": True,
    }
    assert (other["track"], other["epoch"], other["latency_ms"]) == (5, second.epoch.hex(), None)


def test_lines_for_people(start: Start) -> None:
    with publisher_heard_by(start, "--count", "1") as (publisher, subscriber):
        publisher.publish(**hop_of(track=4, frame=80, observed=0x0F, reset=True))
        out, _ = subscriber.communicate(timeout=PATIENCE)
    assert out == "demo/4  seq 0  frame 80  ids 0 1 2 3 4 5 ...  held 4/8  reset\n"


def test_only_the_stream_and_track_asked_for(start: Start) -> None:
    flags = ("--stream", "demo", "--track", "1", "--json", "--count", "3")
    with publisher_heard_by(start, *flags) as (publisher, subscriber):
        for _ in range(3):
            publisher.publish(**hop_of(track=0))
            publisher.publish(**hop_of(track=1))
        out, _ = subscriber.communicate(timeout=PATIENCE)
    assert [(json.loads(text)["track"], json.loads(text)["seq"]) for text in out.splitlines()] == [
        (1, 0),
        (1, 1),
        (1, 2),
    ]


def test_decoded_joints_are_those_of_the_source(start: Start, tmp_path: Path) -> None:
    spec = write_tokenizer(tmp_path / "running-sum")
    flags = ("--decode", "--tokenizer", str(tmp_path / "running-sum"), "--json", "--count", "3")
    with publisher_heard_by(start, *flags) as (publisher, subscriber):
        for _ in range(2):
            publisher.publish(**hop_of(tokenizer=spec.label, ids=np.full(GRID, 256), box=(100, 50, 80)))
        publisher.publish(**hop_of(tokenizer=spec.label, ids=np.full(GRID, 512)))  # outside its vocabulary
        publisher.publish(**hop_of(tokenizer=spec.label, ids=np.full(GRID, 256), box=(100, 50, 80)))
        out, err = subscriber.communicate(timeout=30)
    assert subscriber.returncode == 0, err
    places = [0.05, 0.10, 0.05]  # the third comes after a loss
    for text, place in zip(out.splitlines(), places, strict=True):
        fields = json.loads(text)
        joints, confidence = np.array(fields["joints"]), np.array(fields["confidence"])
        assert joints.shape == (8, 17, 2)
        np.testing.assert_allclose(joints[..., 0], 100 + 80 * (place - 0.5), atol=2e-3)
        np.testing.assert_allclose(joints[..., 1], 50 + 80 * (place - 0.5), atol=2e-3)
        np.testing.assert_array_equal(confidence, np.full((8, 17), CONFIDENCE))
    assert f"decoding {spec.label} on " in err
    assert err.endswith("received 3, gaps 0, duplicates 0, late 0, invalid 1\n")


def test_a_tokenizer_that_is_not_here_ends_with_its_code(start: Start) -> None:
    with publisher_heard_by(start, "--decode") as (publisher, subscriber):
        publisher.publish(**hop_of(tokenizer="never-heard-of@0123456789ab"))
        _, err = subscriber.communicate(timeout=PATIENCE)
    assert subscriber.returncode == 5
    assert err.splitlines()[-1].startswith("error: no tokenizer 'never-heard-of'")
    assert "Traceback" not in err


def test_the_log_is_readable_while_it_is_written_and_whole_at_the_end(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "tokens.db"
    with publisher_heard_by(start, "--log", str(path), "--json") as (publisher, subscriber):
        sent = [publisher.publish(**hop_of()) for _ in range(5)]
        deadline = time.monotonic() + PATIENCE
        while len(logged := logged_in(path)) < 5 and time.monotonic() < deadline:
            assert subscriber.poll() is None
            time.sleep(0.02)
        assert logged == sent
        sent += [publisher.publish(**hop_of()) for _ in range(5)]
        while json.loads(line(subscriber.stdout))["seq"] != 9:
            pass
        subscriber.terminate()  # before the last ones are due to be committed
        subscriber.communicate(timeout=PATIENCE)
    assert subscriber.returncode == 0
    assert logged_in(path) == sent


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("heard", [False, True], ids=["silence", "packets"])
def test_a_signal_ends_it_in_good_order(start: Start, number: signal.Signals, heard: bool) -> None:
    with publisher_heard_by(start) as (publisher, subscriber):
        if heard:
            publisher.publish(**hop_of())
            line(subscriber.stdout)
        subscriber.send_signal(number)
        _, err = subscriber.communicate(timeout=PATIENCE)
    assert subscriber.returncode == 0
    assert err.splitlines()[-1] == f"received {int(heard)}, gaps 0, duplicates 0, late 0, invalid 0"


def test_silence_ends_with_its_own_code(start: Start) -> None:
    with publisher_heard_by(start, "--timeout", "2") as (_, subscriber):
        _, err = subscriber.communicate(timeout=PATIENCE)
    assert subscriber.returncode == 8
    assert "start a producer there" in err.splitlines()[-1]
    with publisher_heard_by(start, "--timeout", "2") as (publisher, subscriber):
        publisher.publish(**hop_of())
        _, err = subscriber.communicate(timeout=PATIENCE)
    assert subscriber.returncode == 8
    assert "the producer is gone or cut off" in err.splitlines()[-1]


def test_a_stream_that_is_not_there_is_answered_with_those_that_are(start: Start) -> None:
    with Publisher("tcp://127.0.0.1:*", "demo") as publisher:
        subscriber = start(publisher.address, "--stream", "demmo", "--timeout", "6")
        while subscriber.poll() is None:
            publisher.publish(**hop_of())
            publisher.wait_for_subscriber(0.05)
        _, err = subscriber.communicate(timeout=PATIENCE)
    assert subscriber.returncode == 8
    assert err.splitlines()[:2] == [
        f"waiting for stream 'demmo' of a producer at {publisher.address}",
        f"no stream 'demmo' at {publisher.address} yet; there are demo",
    ]
    assert f"no stream 'demmo' at {publisher.address}: there are demo; name one with --stream" in err.splitlines()[-1]


def test_a_status_is_no_silence(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.publish.publisher.STATUS_INTERVAL", 0.05)
    with publisher_heard_by(start, "--timeout", "2", "--count", "1") as (publisher, subscriber):
        end = time.monotonic() + 3.0
        while time.monotonic() < end:
            publisher.status(0, {})
            time.sleep(0.05)
        publisher.publish(**hop_of())
        subscriber.communicate(timeout=PATIENCE)
    assert subscriber.returncode == 0


def test_silence_after_a_goodbye_is_the_end(start: Start) -> None:
    with publisher_heard_by(start, "--timeout", "2") as (publisher, subscriber):
        publisher.publish(**hop_of())
        publisher.goodbye("end of recording")
        publisher.close()
        _, err = subscriber.communicate(timeout=PATIENCE)
    assert subscriber.returncode == 0
    assert "demo: the producer said goodbye (end of recording)" in err


def test_garbage_is_survived_and_counted(start: Start) -> None:
    with Rogue() as rogue:
        subscriber = start(rogue.address, "--count", "2")
        rogue.wait_for_subscriber(b"tok/")
        rogue.send(encode(sample(seq=3)))
        for seed in range(100):
            rogue.send(b"tok/demo/3\0" + np.random.default_rng(seed).bytes(seed))
        rogue.send(b"tok/", b"in", b"parts")
        rogue.send(encode(sample(seq=3)))
        rogue.send(encode(sample(seq=6)))
        out, err = subscriber.communicate(timeout=PATIENCE)
    assert subscriber.returncode == 0
    assert len(out.splitlines()) == 2
    assert err.endswith("received 2, gaps 2, duplicates 1, late 0, invalid 101\n")


@pytest.mark.parametrize("repair", [True, False])
def test_what_is_missing_is_asked_for_again_or_told(start: Start, repair: bool) -> None:
    lost = {1, 2, 5}
    with Source() as source, Relay(source.address, lambda packet: packet.seq in lost) as relay:
        flags = ["--json", "--once"] + ["--no-repair"] * (not repair)
        subscriber = start(relay.address, *flags)
        assert source.publisher.wait_for_subscriber(PATIENCE), "the subscriber does not come"
        source.publish(7)
        source.publisher.goodbye("end")
        out, err = subscriber.communicate(timeout=PATIENCE)
    assert subscriber.returncode == 0
    whole = list(range(7))
    assert [json.loads(text)["seq"] for text in out.splitlines()] == (
        whole if repair else [seq for seq in whole if seq not in lost]
    )
    told = [text for text in err.splitlines() if text.startswith(("lost", "received"))]
    epoch = source.publisher.epoch.hex()
    assert told == (
        ["received 7, gaps 0, duplicates 0, late 0, invalid 0, repaired 3"]
        if repair
        else [
            f"lost: demo/0 seq 1 to 2 of epoch {epoch}",
            f"lost: demo/0 seq 5 of epoch {epoch}",
            "received 4, gaps 3, duplicates 0, late 0, invalid 0",
        ]
    )


def test_stale_packets_are_left_out(start: Start) -> None:
    with publisher_heard_by(start, "--json", "--count", "1", "--max-lag", "60") as (publisher, subscriber):
        now, wall = time.monotonic_ns(), time.time_ns()
        publisher.publish(**hop_of(t=now - 100 * 10**9, wall=wall - 100 * 10**9))
        publisher.publish(**hop_of(t=now, wall=wall))
        out, err = subscriber.communicate(timeout=PATIENCE)
    assert json.loads(out)["seq"] == 1
    assert err.endswith("received 1, gaps 0, duplicates 0, late 0, invalid 0, stale 1\n")


def test_a_closed_pipe_is_no_failure(start: Start) -> None:
    with publisher_heard_by(start) as (publisher, subscriber):
        publisher.publish(**hop_of())
        assert line(subscriber.stdout).startswith("demo/0")
        assert subscriber.stdout is not None
        subscriber.stdout.close()
        subscriber.stdout = None
        publisher.publish(**hop_of())
        _, err = subscriber.communicate(timeout=PATIENCE)
    assert subscriber.returncode == 0
    assert "BrokenPipe" not in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("flags", "code", "reason"),
    [
        (["--connect", "nowhere"], 6, "'nowhere' is not a valid address: use tcp://HOST:PORT"),
        (["--log", "/no/such/folder/a.db"], 7, "no folder /no/such/folder"),
        (["--stream", "a/b"], 2, "'a/b' cannot name a stream"),
        (["--track", "-1"], 2, "--track -1"),
        (["--count", "0"], 2, "--count 0"),
        (["--timeout", "-1"], 2, "--timeout -1"),
        (["--max-lag", "0"], 2, "--max-lag 0: seconds above 0"),
        (["--max-lag", "1", "--log", "a.db"], 2, "--max-lag leaves packets out"),
        (["--tokenizer", "x"], 2, "--tokenizer goes with --decode"),
    ],
)
def test_bad_input_gets_one_line_and_its_code(start: Start, flags: list[str], code: int, reason: str) -> None:
    subscriber = start("tcp://127.0.0.1:1", *flags)
    out, err = subscriber.communicate(timeout=PATIENCE)
    assert (subscriber.returncode, out) == (code, "")
    assert err.startswith(f"error: {reason}")
    assert err.count("\n") == 1
