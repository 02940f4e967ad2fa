"""MediaPipe behind its wrapper, on a real picture of two people."""

import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.errors import PoseModelError
from stream.motion.skeleton import JOINTS, SEEN
from stream.pose.crop import Crop, Image, Rectangle
from stream.pose.detection import Detection
from stream.pose.landmarker import Landmarker, Seeder
from stream.sources.video import VideoSource

LEFT: Rectangle = (630, 150, 880, 980)
RIGHT: Rectangle = (890, 130, 1140, 960)
"""Where the two people of the picture stand, px."""

BOTH = Crop(440, 110, 900)


@pytest.fixture(scope="module")
def model(shared: Path) -> Path:
    return shared / "models/pose_landmarker_full.task"


@pytest.fixture(scope="module")
def picture(shared: Path) -> Image:
    return next(iter(VideoSource(shared / "data/video/two_people_indoor.mp4", "max", threading.Event()))).image


@pytest.fixture
def landmarker(model: Path) -> Any:
    landmarker = Landmarker(model)
    yield landmarker
    landmarker.close()


def joint(detection: Detection, name: str) -> Any:
    return detection.image[JOINTS.index(name)]


def stands_in(detection: Detection | None, place: Rectangle) -> Detection:
    """Check that it is an upright person within a place, facing the camera."""
    assert detection is not None
    left, top, right, bottom = place
    assert (detection.image > (left, top)).all()
    assert (detection.image < (right, bottom)).all()
    heights = [joint(detection, name)[1] for name in ("nose", "l-shoulder", "l-hip", "l-knee", "l-ankle")]
    assert (np.diff(heights) > 50).all()
    for part in ("shoulder", "hip", "ankle"):  # left is the person's own: right in the picture
        assert joint(detection, f"l-{part}")[0] > joint(detection, f"r-{part}")[0]
    assert detection.confidence.mean() > 0.8
    return detection


def test_the_seeder_finds_both(model: Path, picture: Image) -> None:
    seeder = Seeder(model, 4)
    found = sorted(seeder.find(picture, Crop(0, -420, 1920)), key=lambda detection: joint(detection, "nose")[0])
    seeder.close()
    assert len(found) == 2
    stands_in(found[0], LEFT)
    stands_in(found[1], RIGHT)


@pytest.mark.parametrize("place", [LEFT, RIGHT], ids=["left", "right"])
def test_a_landmarker_begins_with_the_person_it_is_put_on_and_stays(
    landmarker: Landmarker, picture: Image, place: Rectangle
) -> None:
    stands_in(landmarker.detect(picture, BOTH, 0.0, only=place), place)
    for frame in range(1, 5):
        stands_in(landmarker.detect(picture, BOTH, frame / 30), place)


def test_put_on_somebody_else_it_is_as_good_as_new(model: Path, landmarker: Landmarker, picture: Image) -> None:
    for frame in range(3):
        stands_in(landmarker.detect(picture, BOTH, frame / 30, only=LEFT if frame == 0 else None), LEFT)
    other = Landmarker(model)
    for frame in range(3, 6):
        used = stands_in(landmarker.detect(picture, BOTH, frame / 30, only=RIGHT if frame == 3 else None), RIGHT)
        new = stands_in(other.detect(picture, BOTH, frame / 30, only=RIGHT if frame == 3 else None), RIGHT)
        np.testing.assert_allclose(used.image, new.image, atol=0.5)
    other.close()


def test_world_joints_are_centimetres_around_the_hips(landmarker: Landmarker, picture: Image) -> None:
    detection = stands_in(landmarker.detect(picture, BOTH, 0.0, only=RIGHT), RIGHT)
    world = dict(zip(JOINTS, detection.pose("3d").joints, strict=True))
    np.testing.assert_allclose((world["l-hip"] + world["r-hip"]) / 2, 0, atol=1.0)
    assert 25 < np.linalg.norm(world["l-shoulder"] - world["r-shoulder"]) < 45
    assert 30 < np.linalg.norm(world["l-hip"] - world["l-knee"]) < 55
    assert world["l-shoulder"][0] > 10 > -10 > world["r-shoulder"][0]
    assert world["nose"][1] < -45  # y down
    assert world["l-ankle"][1] > 55
    assert world["nose"][2] < world["l-ear"][2]  # z away: the nose is nearer than the ears


def test_joints_below_the_picture_are_not_seen(landmarker: Landmarker, picture: Image) -> None:
    upper = picture[:500].copy()
    for frame in range(5):
        detection = landmarker.detect(upper, Crop(840, 100, 400), frame / 30, only=RIGHT if frame == 0 else None)
    assert detection is not None
    assert (detection.confidence[:7] > 0.9).all()
    assert (detection.confidence[13:] < SEEN).all()


def test_nobody(model: Path, landmarker: Landmarker) -> None:
    empty = np.full((480, 640, 3), 90, np.uint8)
    assert landmarker.detect(empty, Crop(0, 0, 480), 0.0) is None
    seeder = Seeder(model, 4)
    assert seeder.find(empty, Crop(0, -80, 640)) == []
    seeder.close()


def test_times_that_do_not_rise_do_no_harm(landmarker: Landmarker, picture: Image) -> None:
    for time in (5.0, 5.0, 5.0001, 1.0, 0.0):
        stands_in(landmarker.detect(picture, BOTH, time, only=LEFT if time == 5.0 else None), LEFT)
    assert landmarker.failures == 0


def test_starts_anew_after_an_error(landmarker: Landmarker, picture: Image) -> None:
    stands_in(landmarker.detect(picture, BOTH, 0.0, only=LEFT), LEFT)
    landmarker._milliseconds = -10  # MediaPipe's graph never gets over a time that falls
    assert landmarker.detect(picture, BOTH, -0.005) is None
    assert landmarker.failures == 1
    for frame in range(2):
        stands_in(landmarker.detect(picture, BOTH, 0.1 + frame / 30, only=LEFT if frame == 0 else None), LEFT)
    assert landmarker.failures == 1


def test_a_seeder_starts_anew_after_an_error(model: Path, picture: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    seeder = Seeder(model, 4)

    def fail(picture: object) -> None:
        raise RuntimeError("Failed precondition")

    monkeypatch.setattr(seeder._graph._made, "detect", fail)
    assert seeder.find(picture, Crop(0, -420, 1920)) == []
    assert len(seeder.find(picture, Crop(0, -420, 1920))) == 2
    seeder.close()


def test_a_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    path = tmp_path / "broken.task"
    with zipfile.ZipFile(path, "w") as bundle:
        for part in ("pose_detector.tflite", "pose_landmarks_detector.tflite"):
            bundle.writestr(part, b"not a network")
    with pytest.raises(PoseModelError, match=r"broken\.task cannot be loaded") as caught:
        Landmarker(path)
    assert "\n" not in str(caught.value)


def test_the_terminal_stays_clean(model: Path, shared: Path) -> None:
    code = """if True:
        import sys, threading
        from pathlib import Path
        from stream.pose.crop import Crop
        from stream.pose.landmarker import Landmarker, Seeder
        from stream.sources.video import VideoSource
        frames = iter(VideoSource(sys.argv[2], "max", threading.Event()))
        landmarker, seeder = Landmarker(Path(sys.argv[1])), Seeder(Path(sys.argv[1]), 4)
        for _ in range(3):
            frame = next(frames)
            print(len(seeder.find(frame.image, Crop(0, -420, 1920))))
            print(landmarker.detect(frame.image, Crop(440, 110, 900), frame.time) is not None)
        landmarker.close()
        seeder.close()
    """
    video = shared / "data/video/two_people_indoor.mp4"
    done = subprocess.run([sys.executable, "-c", code, model, video], capture_output=True, encoding="utf-8", timeout=60)
    assert done.stdout.split() == ["2", "True"] * 3
    assert done.stderr == ""


ALONE = """
import sys

def watch(event, arguments):
    if event in ("subprocess.Popen", "os.system", "os.fork", "os.posix_spawn"):
        raise SystemExit(f"started {arguments}")

sys.addaudithook(watch)
import stream.pose.landmarker
sys.exit("sounddevice is hidden" if "sounddevice" in sys.modules else 0)
"""


def test_loading_mediapipe_starts_no_processes() -> None:
    # It would look for PortAudio with the help of compilers, which outlive a producer that is stopped meanwhile.
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr


def test_loading_mediapipe_needs_no_folder_to_write_to(tmp_path: Path) -> None:
    # Its drawing half would load matplotlib, which refuses where it can keep nothing.
    code = "import sys, stream.pose.landmarker; sys.exit('matplotlib' in sys.modules)"
    nowhere = {"HOME": "/dev/null", "TMPDIR": "/dev/null", "MPLCONFIGDIR": "/dev/null", "XDG_CONFIG_HOME": "/dev/null"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False, env=os.environ | nowhere
    )
    assert done.returncode == 0, done.stderr


def test_who_loads_matplotlib_later_gets_the_real_one() -> None:
    code = "import stream.pose.landmarker, matplotlib.pyplot; matplotlib.pyplot.figure"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
