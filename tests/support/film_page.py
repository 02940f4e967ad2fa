"""Films the live page as it plays a log of the built-in motion: the animation at the head of the README.

    python tests/support/film_page.py docs/view.webp

Needs Chromium and `pip install playwright pillow`. The log is played frame by frame, so that the film is even on any
machine.
"""

import io
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from browser import CHROMIUM, PATIENCE_MS, QUIET, opened, shown, wait_for

SECONDS = 3.5
FPS = 15
"""Every second frame of the motion."""

START_S = 12.5
"""Where in the log the film begins: the ribbon is full by then."""

TURN_PX = 1.6
"""By which the mouse turns the room at each frame."""

SIZE = (1000, 640)
QUALITY = 30


def main() -> None:
    """Make the film that the command line names."""
    out = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "demo.db"
        motion = ["--demo", "--dims", "3d", "--max-persons", "4", "--duration", "18"]
        keep = ["--log", str(log), "--bind", "tcp://127.0.0.1:*"]
        subprocess.run([sys.executable, "-m", "stream.producer", *motion, *keep], check=True)
        view = subprocess.Popen(
            [sys.executable, "-m", "stream.view", str(log), "--port", "0"], stderr=subprocess.PIPE, encoding="utf-8"
        )
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
                page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
                page.goto(opened(view))
                frames = _frames(page)
                browser.close()
        finally:
            view.terminate()
            view.communicate()
    first, *others = frames
    first.save(out, save_all=True, append_images=others, duration=round(1000 / FPS), loop=0, quality=QUALITY, method=6)
    print(f"{out}: {len(frames)} frames, {out.stat().st_size / 1e6:.2f} MB")


def _frames(page: Page) -> list[Image.Image]:
    wait_for(page, lambda: shown(page, "people") == 4)
    page.keyboard.press("Space")
    page.locator("#slider").fill(str(START_S))
    expect(page.locator("#place")).to_have_text(f"0:{START_S:04.1f}", timeout=PATIENCE_MS)
    page.wait_for_timeout(2000)  # the camera comes to rest
    box = page.locator("#stage").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, -100)
    page.mouse.down()
    x, y = x - 150, y + 30  # from where nobody hides the others
    frames = []
    for number in range(round(SECONDS * FPS)):
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        page.mouse.move(x + TURN_PX * number, y)
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        frames.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    return frames


if __name__ == "__main__":
    main()
