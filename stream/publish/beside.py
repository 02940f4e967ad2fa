"""Sends the producer's own joints, and small pictures, beside its tokens: only where asked for, and to whoever asks."""

from typing import TYPE_CHECKING

from stream.publish.publisher import Broadcast
from stream.sources.base import PoseFrame, Unit
from stream.wire.beside import (
    LARGEST_PICTURE,
    JointsBeside,
    PictureBeside,
    encode_beside,
    joints_message,
    topic_of,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIDE = 480
"""px of a picture's longer side: enough to see who is where."""

PICTURES_S = 0.05
"""Seconds between two pictures, at least: every second frame of a camera of 30 a second."""

QUALITIES = (70, 40, 15, 5)
"""Of the JPEG, in percent; the first that fits into a message."""


class BesidePublisher:
    """joints, pictures: what may be sent; nothing is made unless somebody subscribes to it. For the stream's thread."""

    def __init__(self, broadcast: Broadcast, unit: Unit, joints: bool, pictures: bool) -> None:
        self._broadcast, self._unit = broadcast, unit
        self._joints, self._pictures = joints, pictures
        self._next_picture = 0

    def show(self, frame: PoseFrame) -> None:
        """Send what is wanted of a frame."""
        to = self._broadcast
        if self._joints and to.hears(topic_of(JointsBeside, to.stream)):
            message = joints_message(to.stream, to.epoch, frame.captured_ns, self._unit, frame.people)
            to.beside(encode_beside(message))
        due = frame.captured_ns >= self._next_picture
        if self._pictures and due and frame.image is not None and to.hears(topic_of(PictureBeside, to.stream)):
            self._next_picture = frame.captured_ns + round(PICTURES_S * 1e9)
            if (jpeg := small_jpeg(frame.image)) is not None:
                height, width = frame.image.shape[:2]
                picture = PictureBeside(
                    stream=to.stream, epoch=to.epoch, t=frame.captured_ns, width=width, height=height, jpeg=jpeg
                )
                to.beside(encode_beside(picture))


def small_jpeg(image: "NDArray[np.uint8]") -> bytes | None:
    """Return an image, [H, W, 3] BGR, as a JPEG of at most `SIDE` px; None if it cannot be made to fit a message."""
    import cv2  # where there are images it is loaded already; elsewhere it would cost a moment

    height, width = image.shape[:2]
    share = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * share)), max(1, round(height * share))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if share < 1 else image
    for quality in QUALITIES:
        made, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if made and jpeg.size <= LARGEST_PICTURE:
            return jpeg.tobytes()
    return None
