"""Joints and pictures beside the packets: made for those who subscribe to them, and never sent to others."""

import time
from collections.abc import Iterator

import numpy as np
import pytest

from stream.client import TokenStream
from stream.motion.skeleton import J, Pose
from stream.publish.beside import PICTURES_S, BesidePublisher
from stream.publish.publisher import Publisher
from stream.sources.base import PoseFrame
from stream.subscribe.beside import BesideReader
from stream.wire.beside import Beside, JointsBeside, PictureBeside, topic_of
from wire_samples import PATIENCE, hop_of

IMAGE = np.zeros((180, 320, 3), np.uint8)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher("tcp://127.0.0.1:*", "demo") as publishing:
        yield publishing


def frame(number: int) -> PoseFrame:
    people = {0: Pose(np.full((J, 2), number, np.float32), np.ones(J, np.float32))}
    return PoseFrame(people, number / 30, round(number / 30 * 1e9), IMAGE)


def heard_by(publisher: Publisher, topic: bytes, wanted: bool = True) -> None:
    deadline = time.monotonic() + PATIENCE
    while publisher.hears(topic) != wanted:
        publisher.status(0, {})
        time.sleep(0.01)
        assert time.monotonic() < deadline


def all_of(reader: BesideReader) -> list[Beside]:
    """Take messages until the one with the end mark."""
    found: list[Beside] = []
    while (message := reader.poll(PATIENCE)) is not None and not (
        isinstance(message, JointsBeside) and not message.tracks
    ):
        found.append(message)
    assert message is not None
    return found


def test_readers_get_what_they_ask_for_and_others_nothing(publisher: Publisher) -> None:
    beside = BesidePublisher(publisher, "px", joints=True, pictures=True)
    with TokenStream(publisher.address) as tokens, BesideReader(publisher.address, "demo") as reader:
        heard_by(publisher, b"tok/demo/0\0")
        assert not publisher.hears(topic_of(PictureBeside, "demo"))
        reader.wanted = True
        heard_by(publisher, topic_of(PictureBeside, "demo"))
        heard_by(publisher, topic_of(JointsBeside, "demo"))
        for number in range(30):
            beside.show(frame(number))
        beside.show(PoseFrame({}, 1.0, 1_000_000_000))
        publisher.publish(**hop_of())
        found = all_of(reader)
        assert next(iter(tokens)).seq == 0
    joints = [message for message in found if isinstance(message, JointsBeside)]
    pictures = [message for message in found if isinstance(message, PictureBeside)]
    assert [message.people()[0][0][0, 0] for message in joints] == list(range(30))
    assert [message.t for message in joints] == [frame(number).captured_ns for number in range(30)]
    assert len(pictures) == 15
    assert {(message.width, message.height) for message in pictures} == {(320, 180)}
    assert min(np.diff([message.t for message in pictures])) >= PICTURES_S * 1e9 - 1
    assert tokens.total.invalid == reader.invalid == 0


def test_nothing_is_made_unless_it_was_allowed_and_is_wanted(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_of_this(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("stream.publish.beside.small_jpeg", none_of_this)
    with BesideReader(publisher.address) as reader:
        BesidePublisher(publisher, "px", joints=True, pictures=True).show(frame(0))
        reader.wanted = True
        heard_by(publisher, topic_of(PictureBeside, "demo"))
        BesidePublisher(publisher, "px", joints=True, pictures=False).show(frame(1))
        message = reader.poll(PATIENCE)
        assert isinstance(message, JointsBeside)
        assert message.people()[0][0][0, 0] == 1
        reader.wanted = False
        heard_by(publisher, topic_of(PictureBeside, "demo"), wanted=False)


def test_a_broken_message_is_counted_and_the_next_one_read(publisher: Publisher) -> None:
    with BesideReader(publisher.address) as reader:
        reader.wanted = True
        heard_by(publisher, topic_of(JointsBeside, "demo"))
        publisher.beside(b"pose/demo\0garbage")
        publisher.beside(b"pic/demo\0" + b"\xc0" * 70_000)
        BesidePublisher(publisher, "px", joints=True, pictures=False).show(frame(3))
        message = reader.poll(PATIENCE)
        assert isinstance(message, JointsBeside)
        assert reader.invalid == 2
