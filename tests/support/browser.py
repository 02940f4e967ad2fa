"""The live page in a real browser, and what it says of itself."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable

from playwright.sync_api import Page

PATIENCE_MS = 60_000
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)

Command = Callable[..., subprocess.Popen[str]]


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
