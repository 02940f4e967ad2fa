"""Measures how the live page keeps up in a headless Chromium, with producer, viewer and browser on this machine.

    python tests/support/measure_page.py
    python tests/support/measure_page.py --people 2 30 --seconds 20 --dims 3d

Needs Chromium and `pip install playwright`. Prints a Markdown table: frames drawn a second, how long the page's own
work takes a frame, the longest pause among 99 % of frames, hops that came and were not drawn, and the share of one core
that each process takes.
"""

import argparse
import itertools
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from browser import CHROMIUM, QUIET, number, opened
from stream.command.child import ProducerProcess

WARM_S = 6.0
"""Seconds that are not counted: decoders open, and the page catches up with what came meanwhile."""

WATCH = """(() => {
  const ask = window.requestAnimationFrame.bind(window);
  window.drawn = [];
  window.requestAnimationFrame = (draw) => ask((time) => {
    const began = performance.now();
    draw(time);
    window.drawn.push([began, performance.now() - began]);
  });
})()"""


def main() -> None:
    """Measure with each number of people in turn."""
    parser = argparse.ArgumentParser(description="How the live page keeps up.")
    parser.add_argument("--people", type=int, nargs="+", default=[2, 30])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--dims", choices=["2d", "3d"], default="2d")
    given = parser.parse_args()
    print("| people | frames/s | ms a frame | pause p99, ms | not drawn | producer | viewer | browser |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for people in given.people:
        print("| " + " | ".join([str(people), *measure(people, given.seconds, given.dims)]) + " |", flush=True)


def measure(people: int, seconds: float, dims: str) -> list[str]:
    """Return a row of the table."""
    flags = ["--demo", "--max-persons", str(people), "--dims", dims]
    with ProducerProcess(flags, stderr=subprocess.DEVNULL) as producer:
        command = [sys.executable, "-m", "stream.view", "--connect", producer.address, "--port", "0"]
        view = subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8")
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
                page = browser.new_page(viewport={"width": 1280, "height": 800})
                page.add_init_script(WATCH)
                page.goto(opened(view))
                page.wait_for_timeout(WARM_S * 1000)
                row = _watched(page, seconds, {"producer": producer.process.pid, "viewer": view.pid})
                browser.close()
        finally:
            view.terminate()
            view.communicate()
    return row


def _watched(page: Page, seconds: float, ours: dict[str, int]) -> list[str]:
    before, skipped = _cores(ours), number(page, "skipped")
    began = time.monotonic()
    page.evaluate("window.drawn = []")
    page.wait_for_timeout(seconds * 1000)
    drawn: list[list[float]] = page.evaluate("window.drawn")
    passed = time.monotonic() - began
    after = _cores(ours)
    pauses = sorted(later[0] - earlier[0] for earlier, later in itertools.pairwise(drawn))
    return [
        f"{len(drawn) / passed:.0f}",
        f"{sum(took for _, took in drawn) / len(drawn):.1f}",
        f"{pauses[int(0.99 * len(pauses))]:.0f}",
        str(number(page, "skipped") - skipped),
        *(f"{(after[what] - before[what]) / passed:.2f}" for what in ("producer", "viewer", "browser")),
    ]


def _cores(ours: dict[str, int]) -> Counter[str]:
    """Return the processor seconds of each part so far; all other processes below this one are the browser's."""
    used: Counter[str] = Counter()
    for process in psutil.Process().children(recursive=True):
        times: Any = process.cpu_times()
        used[next((name for name, pid in ours.items() if pid == process.pid), "browser")] += times.user + times.system
    return used


if __name__ == "__main__":
    main()
