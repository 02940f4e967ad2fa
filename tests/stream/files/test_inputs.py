"""Recordings on the disk, opened one after the other."""

from pathlib import Path

import pytest

from engine.picture_network import PictureNetwork, open_picture_network
from film_samples import write_film
from stream.files import inputs
from stream.pose import movenet
from stream.pose.choice import PeopleFinder


def test_of_many_videos_only_the_first_waits_for_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[PictureNetwork] = []

    def open_network() -> PictureNetwork:
        opened.append(open_picture_network(Path(movenet.__file__).parent / "models/movenet/multipose.onnx"))
        return opened[-1]

    monkeypatch.setattr(movenet, "open_network", open_network)
    inputs._network.cache_clear()
    films = [write_film(tmp_path / f"{name}.mp4", frames=3) for name in ("one", "two", "three")]
    for given in inputs.find_inputs(films, tmp_path / "out"):
        (recording,) = inputs.open_input(given, "2d", PeopleFinder(fps=30))
        assert len(list(recording.frames)) > 0
    inputs._network.cache_clear()
    assert len(opened) == 1
