"""The page's server: who gets an answer, and what waits for a slow browser."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.spec import load_tokenizer
from log_samples import hops, write_log
from stream.errors import WireError
from stream.log.reader import read_log
from stream.view.hub import STATE, Hub
from stream.view.mailbox import BATCH, KINDS, NEWEST, Mailbox
from stream.view.recorded import Recorded
from stream.view.server import PageServer


@pytest.fixture
def server() -> Iterator[PageServer]:
    with PageServer("127.0.0.1", 0, lambda: b"{}", Hub()) as serving:
        yield serving


def answer(server: PageServer, path: str = "", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    request = urllib.request.Request(server.url + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read(), dict(reply.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def test_the_page_loads_nothing_from_elsewhere(server: PageServer) -> None:
    code, body, headers = answer(server)
    assert code == 200
    assert b"main.js" in body
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    for name in ("main.js", "style.css", "icon.svg"):
        code, body, _ = answer(server, name)
        assert code == 200
        assert b"https://" not in body


@pytest.mark.parametrize("path", ["", "about", "live", "log?from=0&to=1"])
def test_requests_under_a_strangers_name_or_from_a_strangers_page_are_refused(server: PageServer, path: str) -> None:
    assert answer(server, path, Host="evil.example")[0] == 403
    assert answer(server, path, Origin="http://evil.example")[0] == 403


def test_the_socket_is_for_the_page_alone(server: PageServer) -> None:
    assert answer(server, "live")[0] == 403


@pytest.mark.parametrize("path", ["nothing.js", "../server.py", "%2e%2e/server.py", "log?from=0&to=1"])
def test_what_is_not_there_is_said_not_to_be(server: PageServer, path: str) -> None:
    assert answer(server, path)[0] == 404


def test_a_taken_port_is_said_to_be_unless_none_was_asked_for(server: PageServer) -> None:
    port = int(server.url.rstrip("/").rpartition(":")[2])
    with pytest.raises(WireError, match="choose another --port"):
        PageServer("127.0.0.1", port, lambda: b"{}", Hub())


def test_a_browser_that_takes_nothing_grows_no_queue() -> None:
    mailbox = Mailbox(lambda: None)
    for number in range(100):
        mailbox.put("one", b"%d" % number)
    assert json.loads(mailbox.take() or b"") == {"skipped": 100 - NEWEST, "messages": list(range(100 - NEWEST, 100))}
    assert mailbox.take() is None
    for number in range(3 * KINDS):
        mailbox.put(number, b"%d" % number)
    taken = []
    while (batch := mailbox.take()) is not None:
        messages = json.loads(batch)["messages"]
        assert len(messages) <= BATCH + NEWEST
        taken += messages
    assert taken == list(range(2 * KINDS, 3 * KINDS))


def test_a_new_page_hears_at_once_how_the_streams_are() -> None:
    hub = Hub()
    hub.post(STATE, b'"before"')
    with hub.mailbox(lambda: None) as mailbox:
        assert json.loads(mailbox.take() or b"")["messages"] == ["before"]
    assert hub.pages == 0


def test_any_span_of_a_log_is_decoded_as_if_read_from_the_start(tmp_path: Path) -> None:
    path = write_log(tmp_path / "tokens.db", hops(60, tokenizer=load_tokenizer("heatmap2d-f8").spec.label))
    whole = [each.motion for each in read_log(path, decode=True)]
    recorded = Recorded(str(path))
    told = json.loads(recorded.span(8.0, 12.0))
    recorded.close()
    first = told["messages"][0]["seq"]
    assert first == 30
    assert [each["seq"] for each in told["messages"]] == list(range(30, 45))
    for each in told["messages"]:
        motion = whole[each["seq"]]
        assert motion is not None
        assert np.allclose(each["joints"], motion.joints.ravel(), atol=0.006)
    assert not told["over"]
