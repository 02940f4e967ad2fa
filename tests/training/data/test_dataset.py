"""Recordings of every kind as clips, and the windows that are drawn from them."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from motion_samples import PLAIN, walk, write_npz
from panoptic_samples import pack, panoptic19, scene, write
from stream.motion.clips import Clip, read_npz
from stream.motion.panoptic import POSES
from stream.motion.skeleton import FROM_PANOPTIC19, J, Pose
from stream.sources.demo import demo_pose
from training.data import augment
from training.data import dataset as recordings
from training.data.dataset import MotionDataset
from training.data.panoptic import EGO, EXO, TRAIN, TRIPLES, VALIDATION, cameras_of, read_sequence
from training.data.windows import UNKNOWN, AugmentConfig, WindowSampler


def sequence(folder: Path, frames: range = range(40), without: range = range(0)) -> Path:
    """A Panoptic sequence of one walker, whose left wrist is not measured in some frames."""
    scenes = {}
    for n in frames:
        joints = panoptic19(demo_pose(0, n / 29.97))
        if n in without:
            joints[5] = (0, 0, 0, -1)
        scenes[n] = scene((7, joints), time=n * 1000 / 29.97)
    return write(folder, dict(scenes))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_corrupt_file_is_named_skipped_and_counted(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = write_npz(tmp_path / "good.npz")
    (tmp_path / "bad.npz").write_bytes(good.read_bytes()[:2000])
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez(tmp_path / "flat.npz", joints=np.zeros((4, 3)), fps=30)
    np.savez(tmp_path / "wild.npz", joints=np.full((4, 19, 3), np.nan), fps=30)
    body = np.zeros((4, 19, 3))
    odd: dict[str, dict[str, object]] = {
        "fps": {"fps": np.array([30, 30])},
        "fps_text": {"fps": "fast"},
        "no_frames": {"joints": body[:0]},
        "no_number": {"joints": body.astype(complex)},
        "offset": {"offsets": np.array(4)},
        "offsets": {"offsets": np.array([0.0, 4.0])},
        "text": {"joints": body.astype(str)},
    }
    for name, arrays in odd.items():
        np.savez(tmp_path / f"{name}.npz", **{"joints": body, "fps": 30, **arrays})  # type: ignore[arg-type]
    np.save(tmp_path / "array", body)
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    dataset = MotionDataset.read(tmp_path, cache)
    assert [clip.name for clip in dataset.clips] == ["good"]
    faults = {Path(fault.split(":")[0]).stem: fault for fault in dataset.faults}
    assert faults.keys() == {"bad", "empty", "flat", "wild", "array", *odd}
    assert "joints must be numbers [T, 17 or 19, 3], not float64 [4, 3]" in faults["flat"]
    assert "fps must be one number" in faults["fps"]
    assert "offsets must be whole numbers" in faults["offsets"]
    assert f"left out {len(faults)} of {len(faults) + 1} files" in caplog.text


def test_joints_of_coco_are_read_as_those_of_panoptic(tmp_path: Path) -> None:
    with np.load(write_npz(tmp_path / "panoptic.npz")) as held:
        np.savez(tmp_path / "coco.npz", joints=held["joints"][:, FROM_PANOPTIC19], fps=held["fps"])
    (one,), (other,) = read_npz(tmp_path / "panoptic.npz"), read_npz(tmp_path / "coco.npz")
    np.testing.assert_array_equal(one.joints, other.joints)


def test_nothing_to_read_and_nothing_readable_are_errors(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no npz recordings at .*, and no Panoptic sequence"):
        MotionDataset.read(tmp_path, cache)
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"none of the 1 recordings .* can be read: .*bad\.npz"):
        MotionDataset.read(tmp_path, cache)


def test_arrays_are_made_once_and_read_from_the_disk(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_npz(tmp_path / "walk.npz", more={"content": np.array("walk")})
    (first,) = MotionDataset.read(file, cache).clips
    read: list[Path] = []

    def other(path: Path) -> list[Clip]:
        read.append(path)
        return [walk(50)]

    monkeypatch.setattr(recordings, "read_npz", other)
    (again,) = MotionDataset.read(file, cache).clips
    assert not read
    np.testing.assert_array_equal(first.joints, again.joints)
    np.testing.assert_allclose(first.joints, walk(60).joints, atol=1e-4)
    assert (again.name, again.content, again.fps, again.measured) == ("walk", "walk", 30, None)
    assert isinstance(again.joints.base, np.memmap) or isinstance(getattr(again.joints.base, "base", None), np.memmap)
    write_npz(tmp_path / "walk.npz", who=1)  # other content under the same name
    assert len(MotionDataset.read(file, cache).clips[0].joints) == 50
    assert read == [file]


def test_a_damaged_or_unwritable_cache_loses_nothing(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write_npz(tmp_path / "walk.npz")
    (first,) = MotionDataset.read(file, cache).clips
    expected = first.joints.copy()
    del first
    (kept,) = cache.iterdir()
    (kept / "joints.npy").write_bytes(b"\x93NUMPY broken")
    np.testing.assert_array_equal(MotionDataset.read(file, cache).clips[0].joints, expected)
    (tmp_path / "taken").write_text("no folder", encoding="utf-8")
    (clip,) = MotionDataset.read(file, tmp_path / "taken").clips
    np.testing.assert_array_equal(clip.joints, expected)
    assert "cannot cache" in caplog.text


def test_what_another_process_kept_meanwhile_stays_for_its_readers(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_npz(tmp_path / "walk.npz")
    inside: list[int] = []

    def slow(path: Path) -> list[Clip]:
        """While this process reads, another one keeps the same recording."""
        if not inside:
            inside.append(0)
            MotionDataset.read(file, cache)
            (kept,) = (each for each in cache.iterdir() if not each.name.endswith(".part"))
            inside[0] = (kept / "joints.npy").stat().st_ino
        return read_npz(path)

    monkeypatch.setattr(recordings, "read_npz", slow)
    (clip,) = MotionDataset.read(file, cache).clips
    (kept,) = cache.iterdir()
    assert (kept / "joints.npy").stat().st_ino == inside[0]
    np.testing.assert_allclose(clip.joints, walk(60).joints, atol=1e-4)


def test_many_clips_of_a_shard_keep_their_names_and_contents(tmp_path: Path, cache: Path) -> None:
    named = {"offsets": np.array([0, 20, 60]), "names": np.array(["a", "b"]), "content": np.array(["walk", "bow"])}
    dataset = MotionDataset.read(write_npz(tmp_path / "shard.npz", more=named), cache)
    assert [(c.name, c.content, len(c.joints)) for c in dataset.clips] == [("a", "walk", 20), ("b", "bow", 40)]
    with pytest.raises(ValueError, match="offsets must rise"):
        MotionDataset.read(write_npz(tmp_path / "wrong.npz", more=named | {"offsets": np.array([0, 20, 61])}), cache)
    with pytest.raises(ValueError, match="one per clip, 2"):
        MotionDataset.read(write_npz(tmp_path / "wrong.npz", more=named | {"names": np.array(["a"])}), cache)


def test_panoptic_folders_and_tars_give_the_same_clips(tmp_path: Path, cache: Path) -> None:
    folder = sequence(tmp_path / "data" / "171204_pose5", without=range(10, 20))
    (clip,) = MotionDataset.read(folder, cache).clips
    assert (clip.name, clip.fps, len(clip.joints)) == ("171204_pose5/7@0", 29.97, 40)
    assert clip.measured is not None
    wrist = 9
    np.testing.assert_array_equal(clip.measured[:, wrist], [n not in range(10, 20) for n in range(40)])
    assert clip.measured[:, np.arange(J) != wrist].all()
    # Between its neighbours in time, where it was not measured.
    expected = clip.joints[9, wrist] + (clip.joints[20, wrist] - clip.joints[9, wrist]) * 5 / 11
    np.testing.assert_allclose(clip.joints[14, wrist], expected, atol=1e-3)
    tar = pack(folder, tmp_path / "171204_pose5.tar", lambda file: f"{POSES}/{file.name}")
    (packed,) = MotionDataset.read(tar, cache).clips
    np.testing.assert_array_equal(packed.joints, clip.joints)
    np.testing.assert_array_equal(packed.measured, clip.measured)


def test_a_long_absence_begins_a_new_clip_and_a_short_one_is_bridged(tmp_path: Path, cache: Path) -> None:
    folder = sequence(tmp_path / "s", frames=range(60))
    for missing in (*range(10, 18), *range(30, 39)):
        (folder / POSES / f"body3DScene_{missing:08d}.json").unlink()
    first, second = MotionDataset.read(folder, cache).clips
    assert (len(first.joints), len(second.joints)) == (30, 21)
    assert first.measured is not None
    assert not first.measured[10:18].any()
    assert first.measured[:10].all()


def test_the_papers_lists_choose_among_sequences(tmp_path: Path, cache: Path) -> None:
    assert not TRAIN & VALIDATION
    assert (len(TRAIN), len(VALIDATION), len(EXO), len(EGO)) == (47, 13, 10, 10)
    assert {name for triple in TRIPLES for name in triple} <= {*EXO}
    for name in ("160906_band1", "171204_pose5", "999999_nobody"):
        sequence(tmp_path / name, frames=range(3))
    found = {part: MotionDataset.read(tmp_path.with_name(tmp_path.name + part), cache).clips for part in ("", "@train")}
    assert len(found[""]) == 3
    assert [clip.name for clip in found["@train"]] == ["160906_band1/7@0"]
    with pytest.raises(FileNotFoundError):
        MotionDataset.read(tmp_path / "160906_band1@validation", cache)


def test_a_joint_that_is_never_measured_stands_beside_its_neighbour(tmp_path: Path) -> None:
    (clip,) = read_sequence(sequence(tmp_path / "s", without=range(40)))
    assert clip.measured is not None
    assert not clip.measured[:, 9].any()
    np.testing.assert_array_equal(clip.joints[:, 9], clip.joints[:, 7])  # the elbow


def test_real_panoptic_sequences_are_read(shared: Path, cache: Path) -> None:
    dataset = MotionDataset.read(shared / "data" / "panoptic", cache)
    assert len(dataset.clips) == 6
    assert all(len(clip.joints) == 20 and len(clip.cameras) == 20 for clip in dataset.clips)
    two = MotionDataset.read(shared / "data" / "panoptic_style" / "cmu_two_people_1", cache).clips
    assert [(clip.name.split("/")[1], len(clip.joints)) for clip in two] == [("0@0", 300), ("1@0", 100), ("1@161", 139)]
    assert two[0].measured is not None
    np.testing.assert_array_equal(np.flatnonzero(~two[0].measured[:, 9]), np.arange(40, 70))


def test_windows_take_stride_and_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[np.ndarray] = []
    at = Clip.at

    def noted(clip: Clip, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asked.append(index)
        return at(clip, index)

    monkeypatch.setattr(Clip, "at", noted)
    augment = AugmentConfig(**PLAIN, stride=15, frame_interval=3)  # type: ignore[arg-type]
    WindowSampler([[walk(200)]], [1.0], 3, 8, 2, augment).draw(np.random.default_rng(0), 40)
    starts = {index[0] for index in asked}
    assert len(starts) > 5
    assert all(start % 15 == 0 for start in starts)
    assert all(np.allclose(np.diff(index), 3) and index[-1] <= 199 for index in asked)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_joint_that_was_not_measured_is_not_shown_and_not_taught(dims: int) -> None:
    measured = np.ones((80, J), bool)
    measured[:, 9] = False
    clip = Clip("walk", walk(80).joints, 30.0, measured)
    augment = AugmentConfig(**PLAIN, joint_requirement=0.9)  # type: ignore[arg-type]
    window = WindowSampler([[clip]], [1.0], dims, 8, 2, augment).draw(np.random.default_rng(1), 32)
    unknown = (window.truth == UNKNOWN).all(axis=-1)
    assert (unknown == (window.keypoints[..., -1] == 0)).all()
    missing = unknown.all(axis=1)  # by window and joint: the left wrist, the right one of mirrored bodies
    np.testing.assert_array_equal(missing.sum(axis=1), 1)
    assert set(np.flatnonzero(missing.any(axis=0))) == {9, 10}


def test_windows_keep_to_frames_with_enough_measured_joints() -> None:
    measured = np.ones((100, J), bool)
    measured[40:60, :3] = False  # 14 of 17
    clip = Clip("walk", walk(100).joints, 30.0, measured)
    for requirement, whole in ((0.9, True), (0.8, False)):
        augment = AugmentConfig(**PLAIN, joint_requirement=requirement)  # type: ignore[arg-type]
        window = WindowSampler([[clip]], [1.0], 3, 8, 2, augment).draw(np.random.default_rng(1), 64)
        assert (window.keypoints[..., -1] == 1).all() == whole


def test_a_group_without_a_long_enough_recording_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"group 1 .* none as long as 0\.7 seconds"):
        WindowSampler([[walk(80)], [walk(10)]], [0.5, 0.5], 3, 8, 2)


@pytest.mark.parametrize(
    "wrong", [{"cameras": "all"}, {"stride": -1}, {"frame_interval": 0}], ids=lambda wrong: next(iter(wrong))
)
def test_wrong_values_of_an_augmentation_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"augment.{next(iter(wrong))}"):
        AugmentConfig(**wrong)  # type: ignore[arg-type]


def test_calibrated_views_are_opencvs_projections(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = shared / "data" / "panoptic" / "160906_band1" / "calibration_160906_band1.json"
    cameras = {camera.name: camera for camera in cameras_of(file.read_bytes())}
    assert cameras.keys() == {*EXO, *EGO}
    monkeypatch.setattr(augment, "AROUND", 0.0)
    body = walk(4).joints[None]
    standing = body[0] - [0, body[..., 1].max(), 0]
    for name in ("00_01", "00_03", "00_25"):
        camera = cameras[name]
        places, valid, inside = augment.calibrated(body, np.random.default_rng(0), [(camera,)])
        rotation = cv2.Rodrigues(camera.R)[0]
        px, _ = cv2.projectPoints(standing.reshape(-1, 3), rotation, camera.t, camera.K, camera.distortion)
        depth = (standing.mean(axis=(0, 1)) @ camera.R.T + camera.t)[2]
        # Beyond where the distortion folds back, OpenCV's numbers mean nothing.
        sane = valid.ravel()
        assert sane.mean() > 0.7
        expected = px[:, 0] * depth / camera.K[0, 0]
        np.testing.assert_allclose(places[0, 0].reshape(-1, 2)[sane], expected[sane], atol=0.05)
        shown = ((px[:, 0] >= 0) & (px[:, 0] < camera.size)).all(axis=-1)
        np.testing.assert_array_equal(inside.ravel(), shown & sane)


def test_windows_are_seen_through_the_cameras_of_a_recording(shared: Path, cache: Path) -> None:
    clips = MotionDataset.read(shared / "data" / "panoptic_style" / "cmu_walking_1", cache).clips
    for cameras in ("exo", "ego"):
        sampler = WindowSampler([clips, [walk(90)]], [0.5, 0.5], 2, 8, 2, AugmentConfig(cameras=cameras))
        window = sampler.draw(np.random.default_rng(0), 16)
        assert window.keypoints.shape == (16, 16, J, 3)
        seen = window.keypoints[..., -1] > 0
        assert 0.5 < seen.mean() <= 1
        assert ((window.truth[seen] > -0.1) & (window.truth[seen] < 1.1)).all()
    three = WindowSampler([clips], [1.0], 2, 8, 2, AugmentConfig(cameras="exo"), views=3)
    assert three.draw(np.random.default_rng(0), 4).keypoints.shape == (4, 3, 16, J, 3)
    with pytest.raises(ValueError, match=r"no Panoptic recording with 3 ego cameras"):
        WindowSampler([clips], [1.0], 2, 8, 2, AugmentConfig(cameras="ego"), views=3)
    with pytest.raises(ValueError, match=r"take augment\.cameras=virtual"):
        WindowSampler([[walk(90)]], [1.0], 2, 8, 2, AugmentConfig(cameras="exo"))


def test_three_cameras_see_the_same_heights_from_different_sides() -> None:
    augment = AugmentConfig(**PLAIN, level=1.0)  # type: ignore[arg-type]
    window = WindowSampler([[walk(90)]], [1.0], 2, 8, 2, augment, views=3).draw(np.random.default_rng(0), 4)
    assert window.keypoints.shape == (4, 3, 16, J, 3)
    assert window.boxes.shape == (4, 3, 2, 3)
    cm = window.truth * window.boxes[..., :1, None, 2:] + window.boxes[..., :1, None, :2]  # box of the first hop
    heights = np.diff(cm[:, :, :8, :, 1], axis=3)
    np.testing.assert_allclose(heights[:, 1], heights[:, 0], atol=1e-2)
    np.testing.assert_allclose(heights[:, 2], heights[:, 0], atol=1e-2)
    assert np.abs(np.diff(cm[:, :, :8, :, 0], axis=3)[:, 1] - np.diff(cm[:, :, :8, :, 0], axis=3)[:, 0]).max() > 5


def test_a_pose_survives_the_way_through_a_file(tmp_path: Path, cache: Path) -> None:
    folder = sequence(tmp_path / "s", frames=range(5))
    (clip,) = MotionDataset.read(folder, cache).clips
    pose: Pose = demo_pose(0, 3 / 29.97)
    np.testing.assert_allclose(clip.joints[3], pose.joints, atol=1e-3)
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError):
        MotionDataset.read(folder, cache)
