"""What goes beside the packets: exact both ways, and nothing hostile gets through."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.motion.skeleton import J, Pose
from stream.publish.beside import SIDE, small_jpeg
from stream.wire.beside import (
    FARTHEST,
    LARGEST_PICTURE,
    MOST_PEOPLE,
    JointsBeside,
    PictureBeside,
    decode_beside,
    encode_beside,
    joints_message,
    jpeg_size,
)
from stream.wire.packets import PacketError
from wire_samples import EPOCH


def person(dims: int, seed: int = 0) -> Pose:
    random = np.random.default_rng(seed)
    joints = random.uniform(-300, 300, (J, dims)).astype(np.float32)
    return Pose(joints, random.uniform(0, 1, J).astype(np.float32))


def joints(**changes: object) -> JointsBeside:
    message = joints_message("demo", EPOCH, 5, "px", {7: person(2, 1), 2: person(2, 2)})
    return msgspec.structs.replace(message, **changes)


def picture(**changes: object) -> PictureBeside:
    jpeg = small_jpeg(np.zeros((90, 160, 3), np.uint8))
    assert jpeg is not None
    message = PictureBeside(stream="demo", epoch=EPOCH, t=5, width=1920, height=1080, jpeg=jpeg)
    return msgspec.structs.replace(message, **changes)


def raw(message: JointsBeside | PictureBeside) -> bytes:
    """Frame a message without the checks."""
    topic = "pose" if isinstance(message, JointsBeside) else "pic"
    return f"{topic}/{message.stream}\0".encode() + msgspec.msgpack.encode(message)


@pytest.mark.parametrize("dims", [2, 3])
def test_people_come_back_as_they_went_in(dims: int) -> None:
    people = {9: person(dims, 1), 4: person(dims, 2)}
    frame = encode_beside(joints_message("demo", EPOCH, 1, "px" if dims == 2 else "cm", people))
    message = decode_beside(frame)
    assert isinstance(message, JointsBeside)
    assert message.tracks == (4, 9)
    for track, (places, sure) in message.people().items():
        assert np.array_equal(places, people[track].joints)
        assert np.allclose(sure, people[track].confidence, atol=0.5 / 255)


def test_a_crowd_fits_and_what_cannot_be_a_place_is_not_sent() -> None:
    odd = Pose(np.full((J, 3), np.nan, np.float32), np.full(J, np.nan, np.float32))
    far = Pose(np.full((J, 3), np.inf, np.float32), np.full(J, 2, np.float32))
    crowd = {track: person(3, track) for track in range(300)} | {0: odd, 1: far}
    message = decode_beside(encode_beside(joints_message("demo", EPOCH, 1, "cm", crowd)))
    assert isinstance(message, JointsBeside)
    assert message.tracks == tuple(range(MOST_PEOPLE))
    places, sure = message.people()[0]
    assert not places.any()
    assert not sure.any()
    assert message.people()[1][0].max() == FARTHEST


def test_nobody_is_a_message_too() -> None:
    message = decode_beside(encode_beside(joints_message("demo", EPOCH, 1, "px", {})))
    assert isinstance(message, JointsBeside)
    assert message.people() == {}


@pytest.mark.parametrize(
    "message",
    [
        joints(tracks=(7, 2)),
        joints(tracks=(2, 2)),
        joints(tracks=(2,)),
        joints(tracks=(2, -7)),
        joints(joints=b"\0" * 8),
        joints(confidence=b""),
        joints(unit="cm"),
        joints(unit="m"),
        joints(joints=np.full((2, J, 2), np.nan, "<f4").tobytes()),
        joints(joints=np.full((2, J, 2), np.inf, "<f4").tobytes()),
        joints(joints=np.full((2, J, 2), 2e6, "<f4").tobytes()),
        joints(stream="../x"),
        joints(epoch=b""),
        joints(v=99),
        picture(jpeg=b""),
        picture(jpeg=b"\xff\xd8\xff\xd9"),
        picture(jpeg=b"\x89PNG" + b"\0" * 50),
        picture(jpeg=b"\xff\xd8" + b"\xff" * LARGEST_PICTURE),
        picture(width=0),
        picture(height=70_000),
    ],
)
def test_what_breaks_the_format_is_refused(message: JointsBeside | PictureBeside) -> None:
    with pytest.raises(PacketError):
        decode_beside(raw(message))


def test_a_topic_must_fit() -> None:
    frame = encode_beside(picture())
    with pytest.raises(PacketError, match="does not fit"):
        decode_beside(b"pose/demo\0" + frame.partition(b"\0")[2])
    with pytest.raises(PacketError, match="does not fit"):
        decode_beside(b"pic/other\0" + frame.partition(b"\0")[2])


@pytest.mark.parametrize("shape", [(1080, 1920, 3), (1920, 1080, 3), (2000, 3, 3), (1, 1, 3)])
def test_pictures_of_any_size_and_content_fit_in_a_message(shape: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    jpeg = small_jpeg(noise)
    assert jpeg is not None
    size = jpeg_size(jpeg)
    assert size is not None
    assert max(size) <= SIDE
    decode_beside(encode_beside(picture(jpeg=jpeg)))


def test_a_small_jpeg_that_unpacks_to_much_is_refused() -> None:
    sound = picture().jpeg
    at = sound.index(b"\xff\xc0") + 5
    bomb = sound[:at] + b"\xff\xff\xff\xff" + sound[at + 4 :]
    assert jpeg_size(bomb) == (65535, 65535)
    with pytest.raises(PacketError, match="px a side"):
        decode_beside(raw(picture(jpeg=bomb)))


@given(st.binary(max_size=400), st.sampled_from([raw(joints()), raw(picture()), b""]), st.integers(0, 400))
def test_whatever_comes_is_refused_or_sound(noise: bytes, frame: bytes, place: int) -> None:
    try:
        message = decode_beside(frame[:place] + noise + frame[place + len(noise) :])
    except PacketError:
        return
    if isinstance(message, JointsBeside):
        assert all(np.isfinite(places).all() for places, _ in message.people().values())
    else:
        assert max(jpeg_size(message.jpeg) or (10**9,)) <= 1280
