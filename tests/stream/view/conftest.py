"""A browser, a page of it, and commands to show on it."""

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from browser import CHROMIUM, PATIENCE_MS, QUIET, Command
from processes import ROOT


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: install Debian's chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page on which any error of a script fails the test."""
    errors: list[str] = []
    with browser.new_page() as opened:
        opened.set_default_timeout(PATIENCE_MS)
        opened.on("pageerror", lambda error: errors.append(str(error)))
        yield opened
        assert not errors


@pytest.fixture
def start() -> Iterator[Command]:
    """Start a command of ours; its standard error can be read."""
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", *words]
        started.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, encoding="utf-8"))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"
