"""Fixtures shared by the suite."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

import engine.backends  # noqa: F401  # before any test imports an engine itself: switches their reports off
from processes import ROOT, Start

# How fast a machine is, or what else it does, is no property of ours.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

SHARED = Path(__file__).resolve().parents[2] / "shared"

SLOW = {
    "engine/test_build.py",
    "engine/test_openvino.py",
    "engine/test_pretrained.py",
    "engine/test_session.py",
    "engine/tensorrt/test_refusals.py",
    "engine/tensorrt/test_runtime.py",
    "engine/test_verify.py",
    "project/test_decoding_page.py",
    "project/test_deploy.py",
    "project/test_drills.py",
    "project/test_examples.py",
    "project/test_files_page.py",
    "project/test_node.py",
    "project/test_readme.py",
    "stream/command/test_lifecycle.py",
    "stream/command/test_metrics.py",
    "stream/pose/test_quiet.py",
    "stream/test_shadowed.py",
    "stream/log/test_repair.py",
    "stream/pose/test_source.py",
    "stream/test_acknowledge.py",
    "stream/test_bench.py",
    "stream/test_demo_command.py",
    "stream/test_doctor.py",
    "stream/test_export.py",
    "stream/test_keys.py",
    "stream/test_producer.py",
    "stream/test_producer_control.py",
    "stream/test_replay.py",
    "stream/test_subscriber.py",
    "stream/test_tokenize.py",
    "stream/test_tokenizer.py",
    "stream/wire/test_security.py",
    "training/report/test_pictures.py",
    "training/run/test_checkpoint.py",
    "training/run/test_distributed.py",
    "training/run/test_trainer.py",
    "training/test_compare.py",
    "training/test_cost.py",
    "training/test_export.py",
    "training/test_sweep.py",
}
"""Files whose tests start processes, train, or take seconds together: `make quick` leaves them out."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow: the tests of `SLOW`, and all that start a process with `launch`."""
    for item in items:
        file = item.path.relative_to(ROOT / "tests").as_posix() if item.path.is_relative_to(ROOT) else ""
        if file in SLOW or "launch" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings beside the checkout: `data/` and `models/`."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no real recordings: {SHARED / 'data'} is absent")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what the suite compiles out of the user's cache."""
    before = os.environ.get("KINETOKEN_CACHE")
    os.environ["KINETOKEN_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["KINETOKEN_CACHE"]
    else:
        os.environ["KINETOKEN_CACHE"] = before


@contextmanager
def signals_kept() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def signals_of_its_own() -> Iterator[None]:
    """Undo what a command in this process did with signals: what is ignored here, processes of later tests ignore."""
    with signals_kept():
        yield


@pytest.fixture
def launch() -> Iterator[Start]:
    """Start Python commands, as `launch("-m", "stream.producer", "--demo")`; none is left when the test is over."""
    launched: list[subprocess.Popen[str]] = []

    def begin(*command: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        with signals_kept():
            for number in (signal.SIGINT, signal.SIGHUP):  # ignored in the background of a shell and under nohup
                if signal.getsignal(number) is signal.SIG_IGN:
                    signal.signal(number, signal.SIG_DFL)
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=os.environ | (env or {}),
                stdout=pipe,
                stderr=pipe,
                encoding="utf-8",
            )
        launched.append(process)
        return process

    yield begin
    for process in launched:
        process.kill()
        process.communicate()
