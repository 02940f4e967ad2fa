"""The page in a real browser: what comes is drawn, and what the page says is true."""

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from processes import ROOT
from stream.log.reader import read_log

PATIENCE_MS = 60_000
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install Debian's chromium")

Command = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
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
        started.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True))
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


def opened(view: subprocess.Popen[str]) -> str:
    """Return the address of a viewer's page, once it is there."""
    assert view.stderr is not None
    for line in view.stderr:
        if match := re.search(r"-> (http://\S+)", line):
            return match[1]
    raise AssertionError("the viewer ended")


def number(page: Page, name: str) -> int:
    return int(page.locator(f"#n-{name}").inner_text().split()[0].replace(",", ""))


def shown(page: Page, what: str) -> float:
    """Return what the stage says of itself: people, dims, or time in seconds; -1 before the first drawing."""
    return float(page.locator("#stage").get_attribute(f"data-{what}") or -1)


def wait_for(page: Page, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not condition():
        assert time.monotonic() < deadline, page.inner_text("body")
        page.wait_for_timeout(30)


def test_every_packet_is_drawn_then_the_log_is_played(page: Page, start: Command, address: str, tmp_path: Path) -> None:
    page.goto(opened(start("stream.view", "--connect", address, "--port", "0")))
    expect(page.locator("#status")).to_have_attribute("data-state", "waiting", timeout=PATIENCE_MS)
    log = tmp_path / "tokens.db"
    producer = start(
        "stream.producer", "--demo", "--bind", address, "--wait", "60", "--duration", "6", "--log", str(log)
    )
    expect(page.locator("#n-people")).to_have_text("2", timeout=PATIENCE_MS)
    wait_for(page, lambda: shown(page, "people") == 2)
    assert page.locator("#people button").all_inner_texts() == ["everybody", "person 0", "person 1"]
    assert producer.wait(60) == 0
    expect(page.locator("#status-text")).to_contain_text("goodbye", timeout=PATIENCE_MS)
    logged = list(read_log(log))
    wait_for(page, lambda: shown(page, "people") == 0)
    assert number(page, "received") == len(logged)
    assert number(page, "drawn") + number(page, "skipped") == len(logged)
    assert number(page, "drawn") >= len(logged) - 4  # a browser that stops for seconds leaves some out, and says so
    assert number(page, "lost") == number(page, "gaps") - number(page, "repaired") == 0
    assert 0 < float(page.locator("#n-p50").inner_text().split()[0].replace(",", "")) < 10_000

    page.goto(opened(start("stream.view", str(log), "--port", "0")))
    expect(page.locator("#n-packets")).to_have_text(str(len(logged)), timeout=PATIENCE_MS)
    wait_for(page, lambda: shown(page, "time") > 0.5)
    page.keyboard.press("Space")
    page.locator("#slider").fill("3")
    expect(page.locator("#place")).to_have_text("0:03.0", timeout=PATIENCE_MS)
    wait_for(page, lambda: shown(page, "people") == 2)
    expect(page.locator("#cells")).to_have_text(str(logged[0].packet.ids().size))


def test_pausing_holds_the_picture_and_steps_move_it_by_frames(page: Page, start: Command, address: str) -> None:
    page.goto(opened(start("stream.view", "--connect", address, "--port", "0")))
    start("stream.producer", "--demo", "--bind", address)
    wait_for(page, lambda: shown(page, "people") == 2 and number(page, "drawn") > 8)
    page.keyboard.press("Space")
    expect(page.locator("#pause")).to_have_text("Play")
    held = shown(page, "time")
    received = number(page, "received")
    wait_for(page, lambda: number(page, "received") > received + 4)
    assert shown(page, "time") == held
    page.keyboard.press("ArrowLeft")
    wait_for(page, lambda: shown(page, "time") < held)
    assert shown(page, "time") == pytest.approx(held - 1 / 30, abs=1e-4)
    page.keyboard.press("2")
    expect(page.locator("#tokens-of")).to_have_text("of person 1")
    page.keyboard.press("Space")
    wait_for(page, lambda: shown(page, "time") > held + 1)


def test_a_killed_producer_is_said_to_be_gone_and_its_return_is_shown(page: Page, start: Command, address: str) -> None:
    page.goto(opened(start("stream.view", "--connect", address, "--port", "0")))
    producer = start("stream.producer", "--demo", "--dims", "3d", "--bind", address)
    status = page.locator("#status")
    expect(status).to_have_attribute("data-state", "live", timeout=PATIENCE_MS)
    wait_for(page, lambda: shown(page, "people") == 2)
    assert shown(page, "dims") == 3
    producer.kill()
    producer.wait()
    expect(status).to_have_attribute("data-state", "gone", timeout=PATIENCE_MS)
    expect(page.locator("#message")).to_contain_text("The producer is gone")
    start("stream.producer", "--demo", "--dims", "3d", "--bind", address)
    expect(status).to_have_attribute("data-state", "live", timeout=PATIENCE_MS)
    expect(page.locator("#n-restarts")).to_have_text("1", timeout=PATIENCE_MS)
    wait_for(page, lambda: shown(page, "people") == 2)
