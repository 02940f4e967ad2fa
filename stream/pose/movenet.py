"""MoveNet MultiPose: up to six people of an image in one pass, in our 17 joints. Its weights ship with the package."""

from importlib.resources import as_file, files

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.picture_network import PictureNetwork, open_picture_network
from stream.errors import PoseModelError
from stream.motion.skeleton import J
from stream.pose.choice import STEP
from stream.pose.crop import Image
from stream.pose.detection import Detection, extent, is_plausible

SIZES = (256, 448)
"""Longer sides, px, among which a detector chooses by itself."""

SMALL = 56
"""People smaller than this in the smaller size, px, need the larger one: below it the network overlooks them."""

LOOK_CLOSER_EVERY = 30
"""Frames between looks for small people at the larger size."""

PERSON = 0.2
"""Least score of a person. With 0.3 one of two people who stand beside each other was missed in a third of frames."""


class MoveNet:
    """Finds the people in single images.

    size: longer side, px, at which it looks at an image, a multiple of 32; None chooses the smaller of `SIZES`
    unless somebody is too small for it. network: as from `open_network`, if there is one already.
    Raises PoseModelError when the network cannot be opened. For one thread at a time.
    """

    def __init__(self, size: int | None = None, network: PictureNetwork | None = None) -> None:
        self._network = network or open_network()
        self._size = size
        self._looks = 0
        self._somebody_small = False

    @property
    def backend(self) -> str:
        """The engine that runs it."""
        return self._network.backend

    def warm(self, image: Image) -> None:
        """Get ready for images of this size, so that no live frame waits for it."""
        for size in SIZES if self._size is None else (self._size,):
            self._network.prepare(*_sides(image, size))

    def detect(self, image: Image) -> list[Detection]:
        """Return the people in a BGR image, uint8 [H, W, 3], the clearest first; without world coordinates."""
        if self._size is not None:
            return self._detect_at(image, self._size)
        small, large = SIZES
        closer = self._somebody_small or self._looks % LOOK_CLOSER_EVERY == 0
        self._looks += 1
        people = self._detect_at(image, large if closer else small)
        if closer:
            scale = small / max(image.shape[:2])
            self._somebody_small = any(extent(person.image) * scale < SMALL for person in people)
        return people

    def _detect_at(self, image: Image, size: int) -> list[Detection]:
        height, width = _sides(image, size)
        picture, scale = fit(image, height, width)
        rows = self._network.run(picture).reshape(-1, 3 * J + 5)
        rows = rows[rows[:, -1] >= PERSON]
        people = []
        for row in rows[np.argsort(-rows[:, -1])]:
            y, x, confidence = row[: 3 * J].reshape(J, 3).T
            joints = (np.stack([x * width, y * height], axis=1) / scale).astype(np.float32)
            people.append(Detection(joints, None, confidence.clip(0, 1).astype(np.float32)))
        return [person for person in people if is_plausible(person, image)]


def open_network() -> PictureNetwork:
    """Open the network. Raises PoseModelError."""
    with as_file(files("stream.pose") / "models/movenet/multipose.onnx") as file:
        try:
            return open_picture_network(file)
        except EngineError as error:
            raise PoseModelError(f"{error}: install kinetoken again") from error


def fit(image: Image, height: int, width: int) -> tuple[NDArray[np.int32], float]:
    """Return a BGR image as RGB, int32 [1, height, width, 3], black right of and below it, and its scale."""
    scale = min(height / image.shape[0], width / image.shape[1])
    rows, columns = (max(1, round(side * scale)) for side in image.shape[:2])
    picture = np.zeros((1, height, width, 3), np.int32)
    # Halved as often as possible, which is done in whole vectors, and the rest of the way on lines between pixels: a
    # fifth of the time that the mean over areas of uneven sides takes. An odd last row or column is left out.
    while min(image.shape[0] / rows, image.shape[1] / columns) >= 2:
        half = image.shape[0] // 2, image.shape[1] // 2
        image = cv2.resize(image[: 2 * half[0], : 2 * half[1]], half[::-1], interpolation=cv2.INTER_AREA)
    picture[0, :rows, :columns] = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR)[..., ::-1]
    return picture, scale


def _sides(image: Image, size: int) -> tuple[int, int]:
    """Height and width, multiples of `STEP`, of an input as wide or high as `size` that holds the image's shape."""
    height, width = image.shape[:2]
    longest = max(height, width)
    return _up(height * size / longest), _up(width * size / longest)


def _up(side: float) -> int:
    return -(-round(side) // STEP) * STEP
