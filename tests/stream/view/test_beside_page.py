"""What a producer sends beside its tokens, on the page in a real browser."""

import dataclasses
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from browser import PATIENCE_MS, Command, number, opened, shown, wait_for
from stream.publish.beside import BesidePublisher
from stream.publish.publisher import Publisher
from stream.sources.demo import CAMERA, DemoSource
from stream.tokenizer import Tokenizer
from wire_samples import hop_of

BLUE = (200, 90, 20)  # BGR


@pytest.fixture
def pictured() -> Iterator[str]:
    """The address of a producer of one person in blue pictures."""
    stop, bound = threading.Event(), threading.Event()
    address = ""

    def produce() -> None:
        nonlocal address
        tokenizer = Tokenizer("heatmap2d-f8")
        encoder = tokenizer.stream()
        image = np.full((1080, 1920, 3), BLUE, np.uint8)
        with Publisher("tcp://127.0.0.1:*", "demo") as publisher:
            publisher.tokenizer = tokenizer.label
            address = publisher.address
            bound.set()
            beside = BesidePublisher(publisher, "px", joints=True, pictures=True)
            for frame in DemoSource("2d", "realtime", stop, people=1):
                beside.show(dataclasses.replace(frame, image=image))
                for hop in encoder.push(frame.people[0].joints, frame.time):
                    place = {"frame": hop.frame, "t": frame.captured_ns, "box": hop.box, "reset": hop.reset}
                    publisher.publish(**hop_of(ids=hop.ids, tokenizer=tokenizer.label, **place))
                publisher.status(1, {})
            publisher.goodbye("stopped")

    thread = threading.Thread(target=produce)
    thread.start()
    assert bound.wait(60)
    yield address
    stop.set()
    thread.join()


def colour(page: Page, x: float, y: float) -> list[int]:
    """Return the colour, RGBA, at a place of the stage given in shares of its size."""
    look = """([x, y]) => { const stage = document.getElementById("stage");
        const at = [Math.round(x * stage.width), Math.round(y * stage.height)];
        return [...stage.getContext("2d").getImageData(...at, 1, 1).data]; }"""
    found: list[int] = page.evaluate(look, [x, y])
    return found


def test_pictures_and_own_joints_are_drawn_behind_and_can_be_left_out(
    page: Page, start: Command, pictured: str
) -> None:
    page.goto(opened(start("stream.view", "--connect", pictured, "--port", "0")))
    wait_for(page, lambda: shown(page, "own") == 1)
    stage = page.locator("#stage")
    expect(stage).to_have_attribute("data-picture", "480x270", timeout=PATIENCE_MS)
    wait_for(page, lambda: np.allclose(colour(page, 0.3, 0.3), [*BLUE[::-1], 255], atol=6))
    wait_for(page, lambda: number(page, "drawn") > 3)
    assert 0 < float(page.locator("#n-error").inner_text().split()[0]) < 0.02 * CAMERA.K[0, 0]
    page.keyboard.press("p")
    expect(stage).to_have_attribute("data-picture", "", timeout=PATIENCE_MS)
    wait_for(page, lambda: colour(page, 0.01, 0.01)[3] == 0)
    page.locator("#show-joints").click()
    expect(stage).to_have_attribute("data-own", "0", timeout=PATIENCE_MS)
    expect(page.locator("#show-joints")).to_have_attribute("aria-pressed", "false")


def test_a_producer_opens_the_page_beside_itself_and_ends_it(page: Page, start: Command, address: str) -> None:
    producer = start("stream.producer", "--demo", "--dims", "3d", "--bind", address, "--view", "--with-joints")
    page.goto(opened(producer))
    wait_for(page, lambda: shown(page, "own") == 2 and shown(page, "people") == 2)
    producer.terminate()
    assert producer.wait(60) == 0
    expect(page.locator("#status-text")).to_have_text("viewer gone", timeout=PATIENCE_MS)


def test_the_page_beside_a_producer_ends_when_that_is_killed(page: Page, start: Command, address: str) -> None:
    producer = start("stream.producer", "--demo", "--bind", address, "--view")
    page.goto(opened(producer))
    wait_for(page, lambda: shown(page, "people") == 2)
    assert page.locator("#show-joints").is_hidden()
    producer.kill()
    producer.wait()
    expect(page.locator("#status-text")).to_have_text("viewer gone", timeout=PATIENCE_MS)
