"""What came from a file or a peer cannot move a terminal's cursor, turn its writing or look like a line of ours."""

import json
import logging

import pytest

from engine.command.messages import plain, plain_name, say, set_up

HOSTILE = "a\x1b[31m\r\nerror: b\u202ec\u2028d\x9b2J\x07"


@pytest.mark.parametrize("text", ["video café.mp4: 12 °C → 日本", "", "a b"])
def test_what_people_write_stays(text: str) -> None:
    assert plain(text) == text


def test_a_message_is_what_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("text")
    say(HOSTILE, "test")
    logging.getLogger("stream.test").warning("%s", HOSTILE)
    said = capsys.readouterr().err
    assert said == 2 * "a?[31m?\nerror: b?c?d?2J?\n"
    assert plain_name(HOSTILE) == "a?[31m??error: b?c?d?2J?"


def test_json_escapes_what_moves_a_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("json")
    say(HOSTILE, "test")
    line = capsys.readouterr().err
    assert "\x1b" not in line
    assert json.loads(line)["message"] == HOSTILE


def test_a_failure_is_still_shown_with_where_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("text")
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        logging.getLogger("stream.test").exception("what happened")
    said = capsys.readouterr().err
    assert said.startswith("what happened\nTraceback")
    assert said.endswith("RuntimeError: broken\n")
