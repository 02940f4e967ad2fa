"""The page in a real browser: what comes is drawn, and what the page says is true."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from browser import PATIENCE_MS, Command, number, opened, shown, wait_for
from stream.log.reader import read_log


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
