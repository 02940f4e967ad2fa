"""`python -m stream.doctor`: looks whether everything that the live system needs is here and works."""

if __name__ == "__main__":  # before the slow imports
    from engine.command.lifecycle import end_at_once

    end_at_once()

import hashlib
import json
import platform
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, get_args

import zmq

from engine.command.cli import run
from engine.command.lifecycle import starting
from engine.errors import in_a_line
from engine.session import Backend, Decoder, Encoder, open_decoder, open_encoder
from engine.spec import load_tokenizer, shipped
from stream.errors import KinetokenError, WireError
from stream.pose.model_file import look_for_pose_model
from stream.wire.keyring import Keyring
from stream.wire.security import Security
from stream.wire.sockets import close_socket, open_socket

CAMERAS = 4
"""Cameras that are tried, from 0 on."""

CAMERA_S = 15.0
"""Seconds for all of them: one that hangs must not hang us."""

LIBRARIES = ("numpy", "msgspec", "pyzmq", "mediapipe", "opencv-contrib-python", "onnxruntime", "openvino")

STEPS = 5

State = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """What a check found: ok, warn for what not everybody needs, fail for what keeps the system from working."""

    state: State
    about: str
    told: str


@dataclass(frozen=True)
class Config:
    """Check libraries, backends, tokenizers, pose model, cameras, port and keys; one line each says what to do.

    Nothing is downloaded or changed. The exit code is 1 if something failed.
    """

    EXITS: ClassVar = (10,)

    bind: str = "tcp://127.0.0.1:5555"
    """Address that the producer is to publish on."""
    pose_model: str | None = None
    """Pose model, as for the producer."""
    keys: str | None = None
    """Folder of keys, as for the producer."""


EXAMPLES = """
  python -m stream.doctor
  python -m stream.doctor --bind tcp://127.0.0.1:6000 --pose-model pose_landmarker_full.task
"""


def main(config: Config, stop: threading.Event) -> None:
    """Check all, print a line each. Raises KinetokenError if something failed."""
    failed = 0
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("libraries", check_libraries),
        ("backend", check_backends),
        ("tokenizer", check_tokenizers),
        ("pose model", lambda: check_pose_model(config.pose_model)),
        ("camera", check_cameras),
        ("port", lambda: check_port(config.bind, Security(config.keys))),
        ("keys", lambda: check_keys(config.keys)),
    ]
    with starting():  # there is nothing to bring in order: a signal may end it anywhere
        for about, check in checks:
            for finding in _guarded(about, check):
                print(f"{finding.state:4}  {finding.about}: {' '.join(finding.told.split())}")
                failed += finding.state == "fail"
    if failed:
        raise KinetokenError(f"{failed} check{'s' if failed > 1 else ''} failed: see the lines with fail")


def _guarded(about: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except KinetokenError as error:
        yield Finding("fail", about, str(error))
    except Exception as error:  # a doctor survives what it finds
        yield Finding("fail", about, f"unexpected: {error!r}: please report it")


def check_libraries() -> Iterator[Finding]:
    """Tell the versions at work; fail for what is missing."""
    found, missing = [f"Python {platform.python_version()} on {platform.platform(terse=True)}"], []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    found += [f"libzmq {zmq.zmq_version()}", f"SQLite {sqlite3.sqlite_version}"]
    yield Finding("ok", "libraries", ", ".join(found))
    if missing:
        yield Finding("fail", "libraries", f"not installed: {', '.join(missing)}: pip install {' '.join(missing)}")
    # What it needs of the system shows only on importing it.
    done = subprocess.run(
        [sys.executable, "-c", "import stream.pose.landmarker"],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["mediapipe exited without output"])[-1]
        yield Finding("fail", "mediapipe", f"{last}: on a bare Linux install libgl1, libegl1 and libgles2")


def check_backends() -> Iterator[Finding]:
    """Run the first tokenizer on every backend, and tell which one `auto` takes."""
    name = shipped()[0]
    running = 0
    for backend in get_args(Backend)[1:]:  # the first is auto
        try:
            milliseconds = _milliseconds(open_encoder(name, backend))
        except Exception as error:  # one that is absent or broken does no harm while another works
            yield Finding("warn", f"backend {backend}", f"not used: {in_a_line(error)}")
            continue
        running += 1
        yield Finding("ok", f"backend {backend}", f"{name} takes {milliseconds:.1f} ms a hop")
    if not running:
        yield Finding("fail", "backend", "none runs: pip install onnxruntime")


def check_tokenizers() -> Iterator[Finding]:
    """Load and run every shipped tokenizer."""
    for name in shipped():
        try:
            encoder, decoder = open_encoder(load_tokenizer(name)), open_decoder(load_tokenizer(name))
        except KinetokenError as error:
            yield Finding("fail", f"tokenizer {name}", str(error))
            continue
        told = ", ".join(
            f"{part} {_milliseconds(session):.1f} ms a hop on {session.backend} ({session.why})"
            for part, session in (("encoder", encoder), ("decoder", decoder))
        )
        yield Finding("ok", f"tokenizer {encoder.spec.label}", told)


def check_pose_model(path: str | None) -> Iterator[Finding]:
    """Tell which pose model is used, and its hash."""
    found, fault = look_for_pose_model(path)
    if fault:
        told = f"{found} {fault}: it is downloaded for the first 3D poses; without a network, pass --pose-model"
        yield Finding("warn", "pose model", told)
        return
    digest = hashlib.sha256(found.read_bytes()).hexdigest()
    yield Finding("ok", "pose model", f"{found}, sha256 {digest}")


_PROBE = """
import cv2, json, os, sys
for number in range(int(sys.argv[1])):
    capture = cv2.VideoCapture(number)
    read, image = capture.read() if capture.isOpened() else (False, None)
    print(json.dumps([number, list(image.shape[1::-1]) if read else None]), flush=True)
    capture.release()
"""


def check_cameras(limit: float = CAMERA_S) -> Iterator[Finding]:
    """Take an image from each of the first cameras, in a process of its own that may hang."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, str(CAMERAS)],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=limit,
            check=False,
        )
        output = done.stdout
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        yield Finding("warn", "camera", f"camera {output.count(chr(10))} hangs: unplug it and plug it in again")
    sizes = {number: size for number, size in map(json.loads, output.splitlines()) if size}
    for number, (width, height) in sizes.items():
        yield Finding("ok", f"camera {number}", f"{width} x {height}: --camera {number}")
    if not sizes:
        yield Finding("warn", "camera", f"none of 0 to {CAMERAS - 1} gives images: use --video, --panoptic or --demo")


def check_port(bind: str, security: Security) -> Iterator[Finding]:
    """Bind the address for a moment."""
    try:
        close_socket(open_socket(zmq.XPUB, bind, {}, security), linger_ms=0)
    except WireError as error:
        yield Finding("fail", "port", str(error))
        return
    if bind.startswith("ipc://"):
        Path(bind.removeprefix("ipc://")).unlink(missing_ok=True)  # libzmq leaves the file
    yield Finding("ok", "port", f"{bind} is free")


def check_keys(folder: str | None) -> Iterator[Finding]:
    """Tell whether links can be encrypted, and the state of the folder of keys."""
    if not zmq.has("curve"):
        yield Finding("warn", "keys", "libzmq was built without CURVE: only this machine can be served securely")
        return
    keyring = Keyring(folder)
    if not keyring.exists:
        told = f"none in {keyring.folder}: for other machines make them with python -m stream.keys new NAME"
        yield Finding("fail" if folder else "warn", "keys", told)
        return
    identity, allowed = keyring.identity(), keyring.allowed()
    who = ", ".join(sorted(allowed)) or "nobody"
    yield Finding("ok", "keys", f"{keyring.folder} holds {identity.name}; allowed: {who}")


def _milliseconds(session: Encoder | Decoder) -> float:
    """Return how long a hop of one person takes, once warm."""
    session.warm((1,))
    begin = time.perf_counter()
    session.warm((1,) * STEPS)
    return 1000 * (time.perf_counter() - begin) / STEPS


if __name__ == "__main__":
    sys.exit(run(main, Config, prog="python -m stream.doctor", examples=EXAMPLES))
