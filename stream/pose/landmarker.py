"""MediaPipe's pose landmarker, typed: the one module that talks to it."""

from pathlib import Path
from typing import Any

import numpy as np

from stream.errors import PoseModelError
from stream.motion.skeleton import FROM_MEDIAPIPE33
from stream.pose.absent import absent
from stream.pose.crop import Crop, Image, Rectangle
from stream.pose.detection import Detection
from stream.pose.quiet import divert_native_stderr

with absent("sounddevice"), absent("matplotlib", empty=True), absent("matplotlib.pyplot", empty=True):
    # MediaPipe's audio half, which nothing here uses, would look for PortAudio by starting compilers. Its drawing half
    # would take half a second and 37 MB, and fail where no folder can be written to.
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

FOLLOW_PIXELS = 512
"""Side of what a `Landmarker` looks at. Measured on crops of 900 px: the joints lie 0.4 % of the body from those
of the whole 900, as they do with 720, and shake less."""

SEEK_PIXELS = 768
"""Side of what a `Seeder` looks at: people are smaller in it."""

FOLLOW_CONFIDENCE = 0.5
SEEK_CONFIDENCE = 0.2
"""MediaPipe's thresholds of detection and presence. Seeking may err: a `Landmarker` has to confirm each detection."""

_FAILURES = (RuntimeError, ValueError, OSError, NotImplementedError)  # what MediaPipe makes of its status codes

_held: set[Any] = set()
"""MediaPipe's landmarkers until they are closed. One that is forgotten open closes itself when it is collected, and
waits for ever if that happens within another's call."""


class _Graph:
    """MediaPipe's graph with a model in it; made anew after an error, which it does not get over."""

    def __init__(self, model: Path, mode: Any, people: int, confidence: float) -> None:
        divert_native_stderr()
        self.failures = 0
        """How often it had to be made anew."""
        self._model = model
        self._options = vision.PoseLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model)),
            running_mode=mode,
            num_poses=people,
            min_pose_detection_confidence=confidence,
            min_pose_presence_confidence=confidence,
            min_tracking_confidence=confidence,
        )
        self._made = self._make()

    def detect(self, rgb: Image, milliseconds: int | None = None) -> Any:
        """Return MediaPipe's result; None after an error. milliseconds: in VIDEO mode, rising."""
        picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb)
        try:
            if milliseconds is None:
                return self._made.detect(picture)
            return self._made.detect_for_video(picture, milliseconds)
        except _FAILURES:
            self.failures += 1
            self.close()
            self._made = self._make()
            return None

    def close(self) -> None:
        """Release memory and threads."""
        self._made.close()
        _held.discard(self._made)

    def _make(self) -> Any:
        try:
            made = vision.PoseLandmarker.create_from_options(self._options)
            _held.add(made)
            return made
        except _FAILURES as error:
            reason = " ".join(str(error).split())[:200]
            raise PoseModelError(
                f"{self._model} cannot be loaded as a pose model ({reason}): download it again"
            ) from error


class Landmarker:
    """Follows one person through crops of a video: MediaPipe's VIDEO mode.

    After an error inside MediaPipe it starts anew and reports nothing for that frame. Raises PoseModelError
    when the model cannot be loaded. For one thread at a time.
    """

    def __init__(self, model: Path) -> None:
        self._graph = _Graph(model, vision.RunningMode.VIDEO, 1, FOLLOW_CONFIDENCE)
        self._milliseconds = 0
        self._fresh = True

    @property
    def failures(self) -> int:
        """How often it had to start anew after an error."""
        return self._graph.failures

    def detect(self, image: Image, crop: Crop, time: float, only: Rectangle | None = None) -> Detection | None:
        """Find the person in a crop of a BGR image, `time` in seconds.

        only: forget what was before and look for the person within this part of the crop.
        """
        if only is not None and not self._fresh:
            self._detect(np.zeros((FOLLOW_PIXELS, FOLLOW_PIXELS, 3), np.uint8), time)  # seeing nobody, it forgets
        found = _detections(self._detect(crop.cut(image, FOLLOW_PIXELS, only), time), crop)
        self._fresh = False
        return found[0] if found else None

    def close(self) -> None:
        """Release MediaPipe's memory and threads."""
        self._graph.close()

    def _detect(self, rgb: Image, time: float) -> Any:
        # Smoothing goes by the times between frames; a time that does not rise is an error.
        self._milliseconds = max(self._milliseconds + 1, round(time * 1000))
        return self._graph.detect(rgb, self._milliseconds)


class Seeder:
    """Finds up to `people` people in single images: MediaPipe's IMAGE mode at low confidence.

    After an error inside MediaPipe it starts anew and reports nobody in that image. Raises PoseModelError when
    the model cannot be loaded. For one thread at a time.
    """

    def __init__(self, model: Path, people: int) -> None:
        self._graph = _Graph(model, vision.RunningMode.IMAGE, people, SEEK_CONFIDENCE)

    def find(self, image: Image, view: Crop) -> list[Detection]:
        """Find people in a square of a BGR image; some may be reported twice, some may be none."""
        return _detections(self._graph.detect(view.cut(image, SEEK_PIXELS)), view)

    def close(self) -> None:
        """Release MediaPipe's memory and threads."""
        self._graph.close()


def _detections(result: Any, crop: Crop) -> list[Detection]:
    if result is None:
        return []
    pairs = zip(result.pose_landmarks, result.pose_world_landmarks, strict=True)
    return [_detection(image, world, crop) for image, world in pairs]


def _detection(image: Any, world: Any, crop: Crop) -> Detection:
    """Of 33 landmarks in the crop, 0..1, and in the world, m, both with y down."""
    joints = [image[i] for i in FROM_MEDIAPIPE33]
    return Detection(
        image=crop.place(np.array([(joint.x, joint.y) for joint in joints], np.float32)),
        world=np.array([(world[i].x * 100, world[i].y * 100, world[i].z * 100) for i in FROM_MEDIAPIPE33], np.float32),
        confidence=np.array([joint.visibility for joint in joints], np.float32).clip(0, 1),
    )
